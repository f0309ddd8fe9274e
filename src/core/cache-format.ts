/** How a session keeps the keys and values of past tokens, and how many of them a token reads. */

/** As the graph has them, and narrower: half of the bytes, and a quarter with a scale for every 64 entries of a head. */
export const CACHE_FORMATS = ['fp32', 'fp16', 'int8'] as const;

export type CacheFormat = (typeof CACHE_FORMATS)[number];

/**
 * The fewest tokens that a query may attend to, as in native/kernels/cache_format.h: up to 47 are the newest, 4 are the
 * first, and some have to be left to choose.
 */
export const LEAST_ATTENDED = 64;

export interface CacheUse {
  readonly cache?: CacheFormat | undefined;
  /** Tokens that each query attends to at most, where tokens are decoded one by one; all by default. */
  readonly attended?: number | undefined;
}

/** Whether a cache is kept in fewer bits than the graph has it in. */
export function isNarrow(cache: CacheFormat | undefined): cache is 'fp16' | 'int8' {
  return cache !== undefined && cache !== 'fp32';
}

/** Whether a cache is one that only the native core has. */
export function isOurs({ cache, attended }: CacheUse): boolean {
  return isNarrow(cache) || attended !== undefined;
}
