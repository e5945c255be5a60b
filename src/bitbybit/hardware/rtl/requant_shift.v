// Requantize by an integer multiplier and a shift: y = (acc * q + 2^(shift-1) >> shift) + Y_ZERO,
// saturated: one rounding, halves upwards ("single-rounding" in bitbybit.arithmetic).
//
// Table word of a channel: q in bits 31..0, the shift, 1 to 62, in bits 39..32.
module requant_shift #(
    parameter Y_MIN = -128, Y_MAX = 127, Y_ZERO = 0
) (
    input                clk, reset, start,
    input         [31:0] channel,
    input  signed [31:0] acc,                   // channel and acc stay until done
    output        [31:0] table_address,
    input         [39:0] table_data,
    output reg           done,
    output reg     [7:0] y
);
    reg arrived;
    wire signed [32:0] q = {1'b0, table_data[31:0]};
    wire [7:0] shift = table_data[39:32];
    wire signed [63:0] product = acc * q;
    wire signed [63:0] half = 64'sd1 <<< (shift - 1);
    wire signed [63:0] scaled = ((product + half) >>> shift) + Y_ZERO;

    assign table_address = channel;

    always @(posedge clk) begin
        arrived <= start;
        done <= arrived;
        if (arrived) y <= scaled < Y_MIN ? Y_MIN : scaled > Y_MAX ? Y_MAX : scaled;
        if (reset) begin
            arrived <= 0;
            done <= 0;
        end
    end
endmodule
