/* One network as data and calls: what a generated network.c offers. */
#ifndef NETWORK_H
#define NETWORK_H

typedef enum { FLOAT32, INT8, UINT8, INT16, UINT16, INT32 } kind;

/* A tensor of one run: inputs first, then of each layer its accumulators, if any, and its output.
 * Files are little-endian and hold one run after the other.
 * FLOAT32 values are float, all others code. */
typedef struct {
    const char *layer, *part; /* also its file, LAYER/PART.bin: part is "x", "acc" or "y" */
    kind type;
    int rank, shape[8];
    void *values;
} tensor;

/* A layer: where its tensors stand in the table, and those that it reads. */
typedef struct {
    int first, count, reads_count, reads[2];
} layer_row;

extern const char network_source[]; /* the model file and its SHA-256 */
extern const int network_inputs, network_tensor_count, network_layer_count;
extern const tensor network_tensors[];
extern const layer_row network_layers[];

/* Compute the tensors of one layer; of all, one after the other. */
void network_layer(int layer);
void network_run(void);

#endif
