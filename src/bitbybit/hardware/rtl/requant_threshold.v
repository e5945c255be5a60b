// Requantize by thresholds: y = Y_MIN + the number of the channel's 255 thresholds that acc reaches.
//
// T[k] is the first accumulator whose code is above Y_MIN + k. They are sorted, so that a search of
// eight steps, two clocks each, counts them. Table word: channel * 255 + k, signed.
module requant_threshold #(
    parameter Y_MIN = -128
) (
    input                clk, reset, start,
    input         [31:0] channel,
    input  signed [31:0] acc,                   // channel and acc stay until done
    output        [31:0] table_address,
    input  signed [39:0] table_data,
    output reg           done,
    output         [7:0] y
);
    reg [7:0] count, step;                      // step: 128, 64, ... 1, then 0
    reg compare;

    assign table_address = channel * 255 + count + step - 1;
    assign y = Y_MIN + count;

    always @(posedge clk) begin
        done <= 0;
        compare <= !compare && step != 0;
        if (compare) begin
            if (acc >= table_data) count <= count + step;
            step <= step >> 1;
            done <= step == 1;
        end
        if (start) begin
            count <= 0;
            step <= 128;
            compare <= 0;
        end
        if (reset) begin
            step <= 0;
            compare <= 0;
        end
    end
endmodule
