/* Run a network on files, and write every tensor or compare it.
 *
 *     network INPUTS --write FOLDER      the tensors of every layer
 *     network INPUTS --compare FOLDER    those that are there
 *     network INPUTS --layers FOLDER     each layer alone, on the inputs INPUTS/LAYER/x, and x1
 *
 * The output of layer stem is FOLDER/stem/y.bin or stem/y.NCHW.bin, or stem.y.bin where there is no
 * folder stem; acc is for accumulators, INPUTS/NAME/x.bin for an input of the network. Files are
 * little-endian, one run after the other. The exit status is 0 if all is equal, 1 if something
 * differs, 2 if it could not be tried.
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

static void stop_at(const char *layer, const char *part, const char *what)
{
    fprintf(stderr, "%s.%s: %s\n", layer, part, what);
    exit(2);
}

/* Open a tensor's file under one of its names; NULL if there is none. */
static FILE *open_tensor(const char *folder, const char *layer, const char *part, const char *mode)
{
    static const char *const forms[] = {"%s/%s/%s.bin", "%s/%s/%s.NCHW.bin", "%s/%s.%s.bin"};
    char path[4096];
    FILE *file = NULL;
    for (int form = 0; form < 3 && !file; form++) {
        int length = snprintf(path, sizeof path, forms[form], folder, layer, part);
        if (length < 0 || (size_t)length >= sizeof path) stop_at(layer, part, "the path is too long");
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
    if (found != (size_t)width) stop_at(t->layer, t->part, "the file ends within a value");
    *bits = 0;
    for (int k = 0; k < width; k++) *bits |= (uint32_t)bytes[k] << (8 * k);
    return 1;
}

static void write_tensor(const tensor *t, FILE *file)
{
    for (size_t k = 0; k < size_of(t); k++)
        for (int byte = 0; byte < width_of[t->type]; byte++)
            if (putc((int)(bits_at(t, k) >> (8 * byte) & 0xffu), file) == EOF)
                stop_at(t->layer, t->part, "the file cannot be written");
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
            stop_at(t->layer, t->part, "the file holds fewer runs than the inputs");
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

/* Fill one input; 0 at the end of its file. */
static int read_tensor(const tensor *t, FILE *file)
{
    for (size_t k = 0; k < size_of(t); k++) {
        uint32_t bits;
        if (!read_bits(file, t, &bits)) {
            if (k) stop_at(t->layer, t->part, "the file ends within a run");
            return 0;
        }
        set_bits(t, k, bits);
    }
    return 1;
}

static long compared, all_runs;

/* Run one layer alone, or with -1 the network, on all runs of its files; count what differs. */
static size_t run(int layer, const char *from, const char *folder, int writes)
{
    static FILE *inputs[64], **files;
    int first = network_inputs, count = network_tensor_count - network_inputs;
    int reads_count = network_inputs;
    if (layer >= 0) {
        first = network_layers[layer].first;
        count = network_layers[layer].count;
        reads_count = network_layers[layer].reads_count;
    }
    const tensor *outputs = network_tensors + first, *reads[64];
    files = calloc((size_t)count, sizeof *files);
    size_t *wrong = calloc((size_t)count, sizeof *wrong), all = 0;
    if (!files || !wrong || reads_count > 64) stop("memory", "there is not enough");
    for (int i = 0; i < reads_count; i++) {
        reads[i] = &network_tensors[layer < 0 ? i : network_layers[layer].reads[i]];
        const char *owner = layer < 0 ? reads[i]->layer : outputs->layer;
        inputs[i] = open_tensor(from, owner, layer >= 0 && i ? "x1" : "x", "rb");
        if (!inputs[i] && layer < 0) stop_at(owner, "x", "there is no such input file: write it with bitbybit vectors --format bin,c"
                                                     " --layout NCHW");
        if (!inputs[i]) return 0; /* main says so */
    }
    int opened = 0;
    for (int i = 0; i < count; i++) {
        const char *name = outputs[i].layer, *part = outputs[i].part;
        files[i] = open_tensor(folder, name, part, writes ? "wb" : "rb");
        if (writes && !files[i]) stop_at(name, part, "the file cannot be written");
        if (!files[i]) printf("%s.%s: no file, not compared\n", name, part);
        opened += files[i] != NULL;
    }

    long runs = 0;
    for (;; runs++) {
        int more = 0;
        for (int i = 0; i < reads_count; i++) more += read_tensor(reads[i], inputs[i]);
        if (more == 0) break;
        if (more != reads_count) stop(outputs->layer, "the inputs differ in length");
        if (layer < 0) network_run();
        else network_layer(layer);
        for (int i = 0; i < count; i++) {
            if (!files[i]) continue;
            if (writes) write_tensor(&outputs[i], files[i]);
            else wrong[i] += compare_tensor(&outputs[i], files[i], runs, wrong[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        const char *name = outputs[i].layer, *part = outputs[i].part;
        uint32_t rest;
        if (!files[i]) continue;
        if (!writes && read_bits(files[i], &outputs[i], &rest))
            stop_at(name, part, "the file holds more runs than the inputs");
        if (fclose(files[i]) != 0) stop_at(name, part, "the file cannot be written");
        if (wrong[i]) printf("%s.%s: %lu values differ\n", name, part, (unsigned long)wrong[i]);
        all += wrong[i];
    }
    for (int i = 0; i < reads_count; i++) fclose(inputs[i]);
    free(files);
    free(wrong);
    compared += runs ? opened : 0;
    all_runs += runs;
    return all;
}

int main(int count, char **words)
{
    const char *problem = contract_problem(), *mode = count == 4 ? words[2] : "";
    int writes = strcmp(mode, "--write") == 0, alone = strcmp(mode, "--layers") == 0;
    if (!writes && !alone && strcmp(mode, "--compare") != 0)
        stop("usage", "network INPUTS --write FOLDER | --compare FOLDER | --layers FOLDER");
    if (problem) stop("this build cannot keep the contract", problem);

    size_t wrong = 0;
    if (!alone) wrong = run(-1, words[1], words[3], writes);
    for (int layer = 0; alone && layer < network_layer_count; layer++) {
        long before = compared;
        wrong += run(layer, words[1], words[3], 0);
        if (compared == before)
            printf("%s: no inputs, not run\n", network_tensors[network_layers[layer].first].layer);
    }
    if (!compared) stop(words[3], "there is nothing to compare with, or no input:"
                                  " write it with bitbybit vectors --format bin,c --layout NCHW");
    printf("%s: %ld runs, %ld tensors ", network_source, all_runs, compared);
    if (writes) printf("written\n");
    else printf("compared, %lu mismatches\n", (unsigned long)wrong);
    return wrong > 0;
}
