/* The arithmetic contract in C99. See contract.h for the operands.
 *
 *     cc -std=c99 -O2 -Wall -Wextra -Werror -ffp-contract=off -c contract.c
 *
 * All real arithmetic is IEEE 754 binary32, each operation rounded once, ties to even. No sum
 * follows a product but through fmaf, so that a compiler finds nothing to contract; and no
 * integer is negative where it could overflow: sums wrap modulo 2^32 as unsigned numbers do.
 */
#include "contract.h"

#include <fenv.h>
#include <float.h>
#include <math.h>

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24
#error "float is not IEEE 754 binary32"
#endif
#ifndef CONTRACT_UNGUARDED /* for experiments: what do these options change? */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "-ffast-math may reorder, divide by multiplying and forget NaN: leave it out"
#endif
#if FLT_EVAL_METHOD != 0
#error "float is computed in a wider type: on x86 use -mfpmath=sse"
#endif
#endif

/* ---- Both stages ---------------------------------------------------------------------------- */

/* An unsigned sum modulo 2^32 as two's complement: what a 32-bit register holds. */
static int32_t wrapped(uint32_t sum)
{
    return sum <= INT32_MAX ? (int32_t)sum : -1 - (int32_t)(UINT32_MAX - sum);
}

/* Saturate, round half to even, then add the zero point. NaN compares false: it becomes qmin. */
static code round_to_codes(float real, params y)
{
    float low = (float)(y.qmin - y.zero_point);
    float high = (float)(y.qmax - y.zero_point);
    if (!(real > low)) real = low;
    if (real > high) real = high;
    return (code)rintf(real) + y.zero_point;
}

/* eq-conv-multiplier, eq-matmul-multiplier: in this order. */
float conv_multiplier(float x_scale, float w_scale, float y_scale)
{
    return (x_scale * w_scale) / y_scale;
}

/* eq-conv-requantize */
code requantize(int32_t acc, float multiplier, params y_params)
{
    return round_to_codes((float)acc * multiplier, y_params);
}

/* ---- Boundary operations -------------------------------------------------------------------- */

/* eq-boundary-quantize: a true division. */
void quantize_linear(const float *x, size_t count, params y_params, code *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = round_to_codes(x[i] / y_params.scale, y_params);
}

/* eq-boundary-dequantize */
void dequantize_linear(const code *x, params x_params, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(x[i] - x_params.zero_point) * x_params.scale;
}

/* ---- QLinearConv ---------------------------------------------------------------------------- */

/* eq-conv-accumulate: the sum of image x, output channel m, position (i, j), without the bias. */
static uint32_t conv_sum(const code *x, code x_zero_point, const weights *layer, const window *s,
                         int m, int i, int j)
{
    int depth = s->channels / s->group;                         /* channels that m reads */
    int first = m / (s->out_channels / s->group) * depth;       /* the first of them */
    const code *w = layer->w + (size_t)m * depth * s->kernel[0] * s->kernel[1];
    uint32_t sum = 0;
    for (int c = first; c < first + depth; c++)
        for (int u = 0; u < s->kernel[0]; u++)
            for (int v = 0; v < s->kernel[1]; v++, w++) {
                int row = s->strides[0] * i + s->dilations[0] * u - s->pads[0];
                int column = s->strides[1] * j + s->dilations[1] * v - s->pads[1];
                if (row < 0 || row >= s->size[0] || column < 0 || column >= s->size[1])
                    continue; /* a padded tap holds x_zero_point: its factor is 0 */
                code tap = x[((size_t)c * s->size[0] + row) * s->size[1] + column];
                sum += (uint32_t)((tap - x_zero_point) * (*w - layer->w_zero_point[m]));
            }
    return sum;
}

void accumulate_conv(const code *x, code x_zero_point, const weights *layer, const window *s,
                     int32_t *acc)
{
    for (int n = 0; n < s->images; n++, x += (size_t)s->channels * s->size[0] * s->size[1])
        for (int m = 0; m < s->out_channels; m++)
            for (int i = 0; i < s->out_size[0]; i++)
                for (int j = 0; j < s->out_size[1]; j++)
                    *acc++ = wrapped((uint32_t)layer->b[m]
                                     + conv_sum(x, x_zero_point, layer, s, m, i, j));
}

void qlinear_conv(const code *x, params x_params, const weights *layer, const window *s,
                  params y_params, int32_t *acc, code *y)
{
    size_t map = (size_t)s->out_size[0] * s->out_size[1], maps = (size_t)s->images * s->out_channels;
    accumulate_conv(x, x_params.zero_point, layer, s, acc);
    for (size_t k = 0; k < maps * map; k++) {
        float w_scale = layer->w_scale[k / map % s->out_channels];
        y[k] = requantize(acc[k], conv_multiplier(x_params.scale, w_scale, y_params.scale), y_params);
    }
}

/* ---- QGemm, QLinearMatMul ------------------------------------------------------------------- */

/* eq-matmul-accumulate, with the bias of QGemm */
void accumulate_matmul(const code *a, code a_zero_point, const weights *layer, int rows,
                       int inner, int columns, int32_t *acc)
{
    for (int i = 0; i < rows; i++, a += inner)
        for (int j = 0; j < columns; j++) {
            uint32_t sum = (uint32_t)layer->b[j];
            for (int k = 0; k < inner; k++) {
                code w = layer->w[(size_t)k * columns + j];
                sum += (uint32_t)((a[k] - a_zero_point) * (w - layer->w_zero_point[j]));
            }
            *acc++ = wrapped(sum);
        }
}

void qlinear_matmul(const code *a, params a_params, const weights *layer, int rows, int inner,
                    int columns, params y_params, int32_t *acc, code *y)
{
    accumulate_matmul(a, a_params.zero_point, layer, rows, inner, columns, acc);
    for (size_t k = 0; k < (size_t)rows * columns; k++) {
        float w_scale = layer->w_scale[k % columns];
        y[k] = requantize(acc[k], conv_multiplier(a_params.scale, w_scale, y_params.scale), y_params);
    }
}

/* QGemm without an output scale gives real numbers. */
void matmul_to_float(const code *a, params a_params, const weights *layer, int rows, int inner,
                     int columns, int32_t *acc, float *y)
{
    accumulate_matmul(a, a_params.zero_point, layer, rows, inner, columns, acc);
    for (size_t k = 0; k < (size_t)rows * columns; k++)
        y[k] = (float)acc[k] * (a_params.scale * layer->w_scale[k % columns]);
}

/* ---- QLinearGlobalAveragePool --------------------------------------------------------------- */

/* eq-pool-accumulate: one sum for each channel of each image. */
void accumulate_global_average_pool(const code *x, code x_zero_point, int maps, int pixels,
                                    int32_t *acc)
{
    for (int map = 0; map < maps; map++, x += pixels) {
        uint32_t sum = 0;
        for (int pixel = 0; pixel < pixels; pixel++)
            sum += (uint32_t)(x[pixel] - x_zero_point);
        acc[map] = wrapped(sum);
    }
}

/* eq-pool-multiplier */
float pool_multiplier(float x_scale, float y_scale, int pixels)
{
    return x_scale / (y_scale * (float)pixels);
}

void qlinear_global_average_pool(const code *x, params x_params, int maps, int pixels,
                                 params y_params, int32_t *acc, code *y)
{
    float multiplier = pool_multiplier(x_params.scale, y_params.scale, pixels);
    accumulate_global_average_pool(x, x_params.zero_point, maps, pixels, acc);
    for (int map = 0; map < maps; map++)
        y[map] = requantize(acc[map], multiplier, y_params);
}

/* ---- QLinearAdd ----------------------------------------------------------------------------- */

/* eq-add-ratios, eq-add-constant, eq-add-sum: raw codes, zero points in one constant. A sum of
 * 2^31 and more, and NaN, become qmin, as the conversion of x86 makes of them. */
void qlinear_add(const code *a, params a_params, const code *b, params b_params, size_t count,
                 params c_params, code *c)
{
    float ra = a_params.scale / c_params.scale, rb = b_params.scale / c_params.scale;
    float zeros = fmaf(ra, (float)a_params.zero_point, rb * (float)b_params.zero_point);
    float fixed = (float)c_params.zero_point - zeros;
    for (size_t k = 0; k < count; k++) {
        float sum = rintf(fmaf((float)a[k], ra, fmaf((float)b[k], rb, fixed)));
        if (!(sum < 2147483648.0f) || sum < (float)c_params.qmin)
            c[k] = c_params.qmin;
        else
            c[k] = sum > (float)c_params.qmax ? c_params.qmax : (code)sum;
    }
}

/* ---- Layers without arithmetic of their own ------------------------------------------------- */

/* MaxPool: a padded tap is no candidate. The largest code is that of the largest real value. */
void max_pool(const code *x, const window *s, code qmin, code *y)
{
    for (int map = 0; map < s->images * s->channels; map++, x += s->size[0] * s->size[1])
        for (int i = 0; i < s->out_size[0]; i++)
            for (int j = 0; j < s->out_size[1]; j++) {
                code best = qmin;
                for (int u = 0; u < s->kernel[0]; u++)
                    for (int v = 0; v < s->kernel[1]; v++) {
                        int row = s->strides[0] * i + s->dilations[0] * u - s->pads[0];
                        int column = s->strides[1] * j + s->dilations[1] * v - s->pads[1];
                        if (row < 0 || row >= s->size[0] || column < 0 || column >= s->size[1])
                            continue;
                        if (x[row * s->size[1] + column] > best) best = x[row * s->size[1] + column];
                    }
                *y++ = best;
            }
}

/* A function of one code (Relu, Sigmoid, another scale, ...) is a table of all its codes. */
void lookup(const code *x, const code *table, code qmin, size_t count, code *y)
{
    for (size_t k = 0; k < count; k++) y[k] = table[x[k] - qmin];
}

/* ---- Can this build keep the contract? ------------------------------------------------------ */

const char *contract_problem(void)
{
    /* volatile: the processor answers, not the compiler */
    volatile float half = 0.5f, three_halves = 1.5f, least = FLT_MIN, tiny = FLT_EPSILON / 2;
    volatile float zero = 0.0f, one = 1.0f, x = 1.0f + FLT_EPSILON;
    volatile int32_t odd = 16777219; /* 2^24 + 3 lies between two floats */
    volatile float nan = zero / zero, minus = -x * x;
    volatile float tenth = 0.1f, w = 0x1.4eed8ap-4f, y = 0x1.4d36dap-10f;
    float hard[] = {0x1.8cccccp+0f, 0x1.f33332p+0f}; /* just below 15.5 and 19.5 tenths */
    code codes[2];

#ifdef CONTRACT_UNGUARDED
    return NULL;
#endif
    if (fesetround(FE_TONEAREST) != 0) return "the rounding mode cannot be set";
    if (rintf(half) != 0.0f || rintf(three_halves) != 2.0f || rintf(-half - 2.0f) != -2.0f)
        return "rintf does not round half to even";
    if ((float)odd != 16777220.0f) return "integers are not rounded to the nearest float";
    if (one + tiny != one || one + tiny + tiny != one) return "sums keep more than 24 bits";
    if (!(least * half > 0.0f)) return "subnormal numbers are flushed to zero";
    if (nan > zero || nan == nan) return "NaN compares as a number";
    if (fmaf(x, x, minus) != FLT_EPSILON * FLT_EPSILON) return "fmaf rounds its product";
    quantize_linear(hard, 2, (params){tenth, 0, -128, 127}, codes);
    if (codes[0] != 15 || codes[1] != 19) return "a division has become a product";
    if (conv_multiplier(0x1.7f4588p-4f, w, y) != 0x1.813e2p+2f) return "products are reordered";
    return NULL;
}
