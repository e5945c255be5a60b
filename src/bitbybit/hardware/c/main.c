/* Run a network on files, and write every tensor or compare it.
 *
 *     network INPUTS --write FOLDER      the tensors of every layer
 *     network INPUTS --compare FOLDER    those that are there
 *
 * The output of layer stem is FOLDER/stem/y.bin, or FOLDER/stem.y.bin where there is no folder
 * stem; acc is for accumulators, INPUTS/NAME/x.bin for an input. Files are little-endian, one run
 * after the other. The exit status is 0 if all is equal, 1 if something differs, 2 if it could not
 * be tried.
 */
#include "contract.h"
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int width_of[] = {4, 1, 1, 2, 2, 4}; /* bytes, by kind */
static const uint32_t sign_of[] = {0, 0x80, 0, 0x8000, 0, 0x80000000}; /* the sign bit */

static void stop(const char *name, const char *what)
{
    fprintf(stderr, "%s: %s\n", name, what);
    exit(2);
}

static void stop_at(const tensor *t, const char *what)
{
    fprintf(stderr, "%s.%s: %s\n", t->layer, t->part, what);
    exit(2);
}

/* Open LAYER/PART.bin or LAYER.PART.bin; NULL if neither can be. */
static FILE *open_tensor(const char *folder, const tensor *t, const char *mode)
{
    char path[4096];
    FILE *file = NULL;
    for (const char *between = "/."; *between && !file; between++) {
        int length = snprintf(path, sizeof path, "%s/%s%c%s.bin", folder, t->layer, *between, t->part);
        if (length < 0 || (size_t)length >= sizeof path) stop_at(t, "the path is too long");
        file = fopen(path, mode);
    }
    return file;
}

static size_t size_of(const tensor *t)
{
    size_t size = 1;
    for (int axis = 0; axis < t->rank; axis++) size *= (size_t)t->shape[axis];
    return size;
}

/* The bits of one value, and back: codes keep their low bits, floats all. */
static uint32_t bits_at(const tensor *t, size_t k)
{
    uint32_t bits;
    memcpy(&bits, (const char *)t->values + 4 * k, 4);
    return width_of[t->type] == 4 ? bits : bits & ((1u << (8 * width_of[t->type])) - 1);
}

static void set_bits(const tensor *t, size_t k, uint32_t bits)
{
    bits = (bits ^ sign_of[t->type]) - sign_of[t->type]; /* extend the sign */
    memcpy((char *)t->values + 4 * k, &bits, 4);
}

/* Read one value; 0 at the end of the file. */
static int read_bits(FILE *file, const tensor *t, uint32_t *bits)
{
    unsigned char bytes[4];
    int width = width_of[t->type];
    size_t found = fread(bytes, 1, (size_t)width, file);
    if (found == 0) return 0;
    if (found != (size_t)width) stop_at(t, "the file ends within a value");
    *bits = 0;
    for (int k = 0; k < width; k++) *bits |= (uint32_t)bytes[k] << (8 * k);
    return 1;
}

static void write_tensor(const tensor *t, FILE *file)
{
    for (size_t k = 0; k < size_of(t); k++)
        for (int byte = 0; byte < width_of[t->type]; byte++)
            if (putc((int)(bits_at(t, k) >> (8 * byte) & 0xffu), file) == EOF)
                stop_at(t, "the file cannot be written");
}

static void show(const tensor *t, const char *word, uint32_t bits)
{
    int64_t sign = sign_of[t->type], whole = ((int64_t)bits ^ sign) - sign;
    float real;
    memcpy(&real, &bits, 4);
    if (t->type == FLOAT32) printf(" %s %.9g", word, (double)real);
    else printf(" %s %ld", word, (long)whole);
    printf(" (0x%0*lx)", 2 * width_of[t->type], (unsigned long)bits);
}

/* Count what differs from the file, and show the first. */
static size_t compare_tensor(const tensor *t, FILE *file, long run, size_t before)
{
    size_t wrong = 0, size = size_of(t);
    for (size_t k = 0; k < size; k++) {
        uint32_t expected, got = bits_at(t, k);
        if (!read_bits(file, t, &expected))
            stop_at(t, "the file holds fewer runs than the inputs");
        if (expected == got) continue;
        if (before + wrong++ > 0) continue;
        printf("%s.%s: run %ld, index [", t->layer, t->part, run);
        for (size_t axis = 0, step = size; axis < (size_t)t->rank; axis++) {
            step /= (size_t)t->shape[axis];
            printf("%s%lu", axis ? ", " : "", (unsigned long)(k / step % (size_t)t->shape[axis]));
        }
        printf("]:");
        show(t, "expected", expected);
        show(t, "got", got);
        printf("\n");
    }
    return wrong;
}

/* Fill the inputs; 0 at the end of the files. */
static int read_inputs(FILE **files)
{
    int more = 1;
    for (int i = 0; i < network_inputs; i++) {
        const tensor *t = &network_tensors[i];
        for (size_t k = 0; k < size_of(t); k++) {
            uint32_t bits;
            int found = read_bits(files[i], t, &bits);
            if (i + k == 0) more = found;
            if (found != more) stop_at(t, "the inputs differ in length, or one ends within a run");
            if (!found) break;
            set_bits(t, k, bits);
        }
    }
    return more;
}

int main(int count, char **words)
{
    const char *problem = contract_problem();
    int writes = count == 4 && strcmp(words[2], "--write") == 0;
    if (count != 4 || (!writes && strcmp(words[2], "--compare") != 0))
        stop("usage", "network INPUTS --write FOLDER | network INPUTS --compare FOLDER");
    if (problem) stop("this build cannot keep the contract", problem);

    FILE **inputs = calloc((size_t)(network_inputs + network_tensor_count), sizeof *inputs);
    FILE **files = inputs + network_inputs;
    size_t *wrong = calloc((size_t)network_tensor_count, sizeof *wrong);
    if (!inputs || !wrong) stop("memory", "there is not enough");
    for (int i = 0; i < network_inputs; i++)
        if (!(inputs[i] = open_tensor(words[1], &network_tensors[i], "rb")))
            stop_at(&network_tensors[i], "there is no such input file");
    int opened = 0;
    for (int i = network_inputs; i < network_tensor_count; i++) {
        const tensor *t = &network_tensors[i];
        files[i] = open_tensor(words[3], t, writes ? "wb" : "rb");
        if (writes && !files[i]) stop_at(t, "the file cannot be written");
        if (!files[i]) printf("%s.%s: no file, not compared\n", t->layer, t->part);
        opened += files[i] != NULL;
    }
    if (!opened) stop(words[3], "there is nothing to compare with");

    long runs = 0;
    for (; read_inputs(inputs); runs++) {
        network_run();
        for (int i = network_inputs; i < network_tensor_count; i++) {
            if (!files[i]) continue;
            if (writes) write_tensor(&network_tensors[i], files[i]);
            else wrong[i] += compare_tensor(&network_tensors[i], files[i], runs, wrong[i]);
        }
    }
    if (!runs) stop(words[1], "the inputs are empty");
    size_t all = 0;
    for (int i = network_inputs; i < network_tensor_count; i++) {
        const tensor *t = &network_tensors[i];
        uint32_t rest;
        if (!files[i]) continue;
        if (!writes && read_bits(files[i], t, &rest)) stop_at(t, "the file holds more runs than the inputs");
        if (fclose(files[i]) != 0) stop_at(t, "the file cannot be written");
        if (wrong[i]) printf("%s.%s: %lu values differ\n", t->layer, t->part, (unsigned long)wrong[i]);
        all += wrong[i];
    }
    printf("%s: %ld runs, %d tensors ", network_source, runs, opened);
    if (writes) printf("written\n");
    else printf("compared, %lu mismatches\n", (unsigned long)all);
    for (int i = 0; i < network_inputs; i++) fclose(inputs[i]);
    free(inputs);
    free(wrong);
    return all > 0;
}
