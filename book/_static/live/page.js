// What a page gets: the functions under one global name, for its own parts and for a console.

import { fma32, halfEven } from "./arithmetic.js";
import { CONTRACT, checksum, trace } from "./engine.js";
import { read } from "./model.js";

globalThis.bitbybit = { CONTRACT, checksum, fma32, halfEven, read, trace };
