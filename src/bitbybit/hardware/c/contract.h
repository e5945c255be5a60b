/* The arithmetic contract in C99: what one quantized operator computes, bit for bit.
 *
 * Each function names the numbered equation of the book that it is. Arrays are in ONNX layout:
 * images [N, C, H, W], matrices [rows, columns], the last axis innermost.
 *
 * Call contract_problem() once before anything else.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stddef.h>
#include <stdint.h>

/* An int8, uint8, int16 or uint16 code, held wide: one function serves them all. */
typedef int32_t code;

/* real = scale * (code - zero_point); the rails are those of the code's own type. */
typedef struct {
    float scale;
    code zero_point;
    code qmin, qmax;
} params;

/* The constants of a layer: one scale, zero point and bias for each of its M output channels.
 * A file that has one for all repeats it here; a layer without bias has zeros. */
typedef struct {
    const code *w;             /* [M, C/group, kH, kW], or [K, M] of a dense layer */
    const float *w_scale;      /* [M] */
    const code *w_zero_point;  /* [M] */
    const int32_t *b;          /* [M], in units of x_scale * w_scale[m] */
} weights;

/* How a kernel moves over an image. Pairs are (vertical, horizontal). */
typedef struct {
    int images;                   /* N */
    int channels, size[2];        /* of x: C, (H, W) */
    int out_channels, out_size[2];/* of y: M, (H', W') */
    int kernel[2], strides[2], dilations[2];
    int pads[2];                  /* (top, left); bottom and right show in H', W' only */
    int group;
} window;

/* NULL, or a sentence: why this build or this processor cannot keep the contract. */
const char *contract_problem(void);

/* Layers. `acc` gets the accumulators, with bias; y the codes. */
void quantize_linear(const float *x, size_t count, params y_params, code *y);
void dequantize_linear(const code *x, params x_params, size_t count, float *y);
void qlinear_conv(const code *x, params x_params, const weights *layer, const window *s,
                  params y_params, int32_t *acc, code *y);
void qlinear_matmul(const code *a, params a_params, const weights *layer, int rows, int inner,
                    int columns, params y_params, int32_t *acc, code *y);
void matmul_to_float(const code *a, params a_params, const weights *layer, int rows, int inner,
                     int columns, int32_t *acc, float *y);
void qlinear_global_average_pool(const code *x, params x_params, int maps, int pixels,
                                 params y_params, int32_t *acc, code *y);
void qlinear_add(const code *a, params a_params, const code *b, params b_params, size_t count,
                 params c_params, code *c);
void max_pool(const code *x, const window *s, code qmin, code *y);
void lookup(const code *x, const code *table, code qmin, size_t count, code *y);

/* The two stages that they are made of. */
void accumulate_conv(const code *x, code x_zero_point, const weights *layer, const window *s,
                     int32_t *acc);
void accumulate_matmul(const code *a, code a_zero_point, const weights *layer, int rows,
                       int inner, int columns, int32_t *acc);
void accumulate_global_average_pool(const code *x, code x_zero_point, int maps, int pixels,
                                    int32_t *acc);
float conv_multiplier(float x_scale, float w_scale, float y_scale);
float pool_multiplier(float x_scale, float y_scale, int pixels);
code requantize(int32_t acc, float multiplier, params y_params);

#endif
