// Runs conv_layer, or a module of yours with its name and ports, on the vectors of one layer.
//
// With -DY_ONLY accumulators are not compared. The last line is PASS or FAIL; got_y.hex and
// got_acc.hex hold what came out, x where nothing did.
`timescale 1ns / 1ps
`include "layer.vh"
`ifdef Y_ONLY
`define CHECK_ACC 0
`else
`define CHECK_ACC 1
`endif

module testbench;
    localparam X_SIZE = `C * `H * `W, Y_SIZE = `M * `H_OUT * `W_OUT;
    localparam K = `C / `GROUPS * `KH * `KW, BLOCKS = (`M + `LANES - 1) / `LANES;
    localparam TABLE_SIZE = `SHIFTS ? `M : `M * 255;
    localparam LONGEST = Y_SIZE * (K + 40) + 1000;  // clocks that one image may take

    reg clk = 0, reset = 1, start = 0;
    always #5 clk = !clk;

    // Memories: little-endian lanes, one word per line.
    reg          [7:0] x [0:`IMAGES * X_SIZE - 1];
    reg [8*`LANES-1:0] w [0:BLOCKS * K - 1];
    reg [32*`LANES-1:0] b [0:BLOCKS - 1];
    reg         [39:0] lookup [0:TABLE_SIZE - 1];
    reg          [7:0] y [0:`IMAGES * Y_SIZE - 1], got_y [0:`IMAGES * Y_SIZE - 1];
    reg         [31:0] acc [0:`IMAGES * Y_SIZE - 1], got_acc [0:`IMAGES * Y_SIZE - 1];

    wire [31:0] x_address, w_address, b_address, table_address, y_address;
    reg   [7:0] x_data;
    reg [8*`LANES-1:0] w_data;
    reg [32*`LANES-1:0] b_data;
    reg  [39:0] table_data;
    wire        y_valid, done;
    wire  [7:0] y_data;
    wire signed [31:0] acc_data;
    integer image = 0, clocks = 0, wrong = 0, k;

    conv_layer #(
        .C(`C), .H(`H), .W(`W), .M(`M), .H_OUT(`H_OUT), .W_OUT(`W_OUT), .KH(`KH), .KW(`KW),
        .SH(`SH), .SW(`SW), .DH(`DH), .DW(`DW), .TOP(`TOP), .LEFT(`LEFT), .GROUPS(`GROUPS),
        .X_SIGNED(`X_SIGNED), .X_ZERO(`X_ZERO), .W_SIGNED(`W_SIGNED), .W_ZERO(`W_ZERO),
        .Y_MIN(`Y_MIN), .Y_MAX(`Y_MAX), .Y_ZERO(`Y_ZERO), .LANES(`LANES), .SHIFTS(`SHIFTS)
    ) dut (
        .clk(clk), .reset(reset), .start(start),
        .x_address(x_address), .x_data(x_data), .w_address(w_address), .w_data(w_data),
        .b_address(b_address), .b_data(b_data),
        .table_address(table_address), .table_data(table_data),
        .y_valid(y_valid), .y_address(y_address), .y_data(y_data), .acc_data(acc_data),
        .done(done));

    always @(posedge clk) begin
        x_data <= x[image * X_SIZE + x_address];
        w_data <= w[w_address];
        b_data <= b[b_address];
        table_data <= lookup[table_address];
    end

    // Keep what comes out; an unknown address fails here, an unknown value below.
    always @(negedge clk) begin
        clocks = clocks + 1;
        if (!reset && y_valid !== 1'b0) begin
            k = image * Y_SIZE + y_address;
            if (y_valid !== 1'b1 || !(y_address < Y_SIZE)) begin
                $display("FAIL: y_valid %b, y_address %0d of %0d", y_valid, y_address, Y_SIZE);
                $finish;
            end
            if (got_y[k] !== 8'hxx && got_y[k] !== y_data) begin
                $display("FAIL: output %0d was written twice, %h and %h", k, got_y[k], y_data);
                $finish;
            end
            got_y[k] = y_data;
            got_acc[k] = acc_data;
        end
        if (clocks > LONGEST) begin
            $display("FAIL: image %0d is not done after %0d clocks", image, LONGEST);
            $finish;
        end
    end

    initial begin
        $readmemh("x.hex", x);
        $readmemh("w.hex", w);
        $readmemh("b.hex", b);
        $readmemh("table.hex", lookup);
        $readmemh("y.hex", y);
        $readmemh("acc.hex", acc);
        repeat (2) @(posedge clk);
        #1 reset = 0;
        for (image = 0; image < `IMAGES; image = image + 1) begin
            clocks = 0;
            start = 1;
            @(posedge clk);
            #1 start = 0;
            while (done !== 1'b1) @(posedge clk) #1;
            @(posedge clk) #1;
        end
        $writememh("got_y.hex", got_y);
        $writememh("got_acc.hex", got_acc);
        for (k = 0; k < `IMAGES * Y_SIZE; k = k + 1)
            if (got_y[k] !== y[k] || (`CHECK_ACC && got_acc[k] !== acc[k])) begin
                wrong = wrong + 1;
                if (wrong == 1)
                    $display("%0d (image %0d, channel %0d, row %0d, column %0d): expected y %h acc %h, got y %h acc %h",
                             k, k / Y_SIZE, k % Y_SIZE / (`H_OUT * `W_OUT), k / `W_OUT % `H_OUT,
                             k % `W_OUT, y[k], acc[k], got_y[k], got_acc[k]);
            end
        if (wrong == 0) $display("PASS: %0d outputs and accumulators are equal", `IMAGES * Y_SIZE);
        else $display("FAIL: %0d of %0d differ", wrong, `IMAGES * Y_SIZE);
        $finish;
    end
endmodule
