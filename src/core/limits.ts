/** Upper limits for what a user or a file asks for. Anything larger can only be a mistake. */

/** Threads of anything: no machine can feed more. Thousands start without an error, then wait for each other. */
export const MOST_THREADS = 256;

/** Heads of keys and values in a cache, as in native/kernels/limits.h. Published models have 128 at most. */
export const MOST_HEADS = 4096;
/** Entries of a head. Published models have 576 at most. */
export const MOST_HEAD_ENTRIES = 65_536;
/** Words of a vocabulary. Published models have 262,208 at most. */
export const MOST_WORDS = 2 ** 24;
