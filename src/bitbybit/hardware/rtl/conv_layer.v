// One quantized convolution or dense layer: LANES multipliers and accumulators side by side, each
// for its own output channel, then a requantizer that takes them one by one.
//
// acc = b + sum of (x - X_ZERO)(w - W_ZERO) over the taps, modulo 2^32 (eq-conv-accumulate);
// a padded tap holds X_ZERO, so it adds nothing. README.md has the ports and the memories.
module conv_layer #(
    parameter C = 1, H = 1, W = 1,              // channels, height, width of x
    parameter M = 1, H_OUT = 1, W_OUT = 1,      // of y
    parameter KH = 1, KW = 1, SH = 1, SW = 1, DH = 1, DW = 1,  // kernel, strides, dilations
    parameter TOP = 0, LEFT = 0, GROUPS = 1,
    parameter X_SIGNED = 1, X_ZERO = 0, W_SIGNED = 1, W_ZERO = 0,
    parameter Y_MIN = -128, Y_MAX = 127, Y_ZERO = 0,
    parameter LANES = 1,                        // channels of a block, all of one group
    parameter SHIFTS = 0                        // 0: thresholds, 1: multiplier and shift
) (
    input                    clk, reset, start,
    output            [31:0] x_address,         // (c * H + row) * W + column
    input              [7:0] x_data,            // one clock after its address, as all memories
    output            [31:0] w_address,         // block * K + tap
    input      [8*LANES-1:0] w_data,            // lane 0 in the lowest byte
    output            [31:0] b_address,         // block
    input     [32*LANES-1:0] b_data,
    output            [31:0] table_address,     // of the requantizer
    input             [39:0] table_data,
    output reg               y_valid,           // for one clock
    output reg        [31:0] y_address,         // (m * H_OUT + i) * W_OUT + j
    output reg         [7:0] y_data,
    output reg signed [31:0] acc_data,          // what y_data was made of
    output reg               done
);
    localparam DEPTH = C / GROUPS, K = DEPTH * KH * KW, BLOCKS = (M + LANES - 1) / LANES;
    localparam IDLE = 0, SETTLE = 1, LOAD = 2, FETCH = 3, LAST = 4, DRAIN = 5, WAIT = 6, NEXT = 7;

    reg [2:0] state;
    integer block, i, j, c, u, v, tap, lane, n;

    // The tap that is asked for.
    wire signed [31:0] row = i * SH + u * DH - TOP;
    wire signed [31:0] column = j * SW + v * DW - LEFT;
    wire inside = row >= 0 && row < H && column >= 0 && column < W;
    wire [31:0] first = block * LANES / (M / GROUPS) * DEPTH;
    assign x_address = inside ? ((first + c) * H + row) * W + column : 0;
    assign w_address = block * K + tap;
    assign b_address = block;

    // The tap that has arrived: 9 bits hold every code, 10 its distance from the zero point.
    reg arrived, arrived_inside;
    wire signed [9:0] x_value = X_SIGNED ? $signed(x_data) : $signed({1'b0, x_data});
    wire signed [9:0] x_centred = arrived_inside ? x_value - X_ZERO : 10'sd0;
    reg signed [31:0] acc [0:LANES-1];

    genvar g;
    generate
        for (g = 0; g < LANES; g = g + 1) begin : lanes
            wire [7:0] code = w_data[8*g +: 8];
            wire signed [9:0] w_value = W_SIGNED ? $signed(code) : $signed({1'b0, code});
            wire signed [9:0] w_centred = w_value - W_ZERO;
            wire signed [19:0] product = x_centred * w_centred;
            always @(posedge clk)
                if (state == LOAD) acc[g] <= b_data[32*g +: 32];
                else if (arrived) acc[g] <= acc[g] + product;
        end
    endgenerate

    // The requantizer takes one accumulator at a time.
    wire [31:0] channel = block * LANES + lane;
    wire [7:0] code;
    wire code_done;
    generate
        if (SHIFTS) begin : shifts
            requant_shift #(.Y_MIN(Y_MIN), .Y_MAX(Y_MAX), .Y_ZERO(Y_ZERO)) requantizer (
                clk, reset, state == DRAIN, channel, acc[lane],
                table_address, table_data, code_done, code);
        end else begin : thresholds
            requant_threshold #(.Y_MIN(Y_MIN)) requantizer (
                clk, reset, state == DRAIN, channel, acc[lane],
                table_address, table_data, code_done, code);
        end
    endgenerate

    always @(posedge clk) begin
        y_valid <= 0;
        arrived <= state == FETCH;
        arrived_inside <= inside;
        case (state)
            IDLE: if (start) begin
                block <= 0; i <= 0; j <= 0; done <= 0;
                state <= SETTLE;
            end
            SETTLE: begin                       // the bias of the block arrives
                c <= 0; u <= 0; v <= 0; tap <= 0; lane <= 0;
                state <= LOAD;
            end
            LOAD: state <= FETCH;
            FETCH: begin                        // one tap per clock, the innermost axis first
                tap <= tap + 1;
                v <= v == KW - 1 ? 0 : v + 1;
                if (v == KW - 1) u <= u == KH - 1 ? 0 : u + 1;
                if (v == KW - 1 && u == KH - 1) c <= c + 1;
                if (tap == K - 1) state <= LAST;
            end
            LAST: state <= DRAIN;               // the last product is added
            DRAIN: state <= WAIT;
            WAIT: if (code_done) begin
                y_valid <= 1;
                y_address <= (channel * H_OUT + i) * W_OUT + j;
                y_data <= code;
                acc_data <= acc[lane];
                lane <= lane + 1;
                state <= lane == LANES - 1 || channel == M - 1 ? NEXT : DRAIN;
            end
            NEXT: begin
                j <= j == W_OUT - 1 ? 0 : j + 1;
                if (j == W_OUT - 1) i <= i == H_OUT - 1 ? 0 : i + 1;
                if (j == W_OUT - 1 && i == H_OUT - 1) block <= block + 1;
                done <= j == W_OUT - 1 && i == H_OUT - 1 && block == BLOCKS - 1;
                state <= j == W_OUT - 1 && i == H_OUT - 1 && block == BLOCKS - 1 ? IDLE : SETTLE;
            end
        endcase
        if (reset) begin
            state <= IDLE;
            arrived <= 0;
            done <= 0;
        end
    end
endmodule
