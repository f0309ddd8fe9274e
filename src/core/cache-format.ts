/** How a session keeps the keys and values of past tokens. */

/** As the graph has them, and narrower: half of the bytes, and a quarter with a scale for every 64 entries of a head. */
export const CACHE_FORMATS = ['fp32', 'fp16', 'int8'] as const;

export type CacheFormat = (typeof CACHE_FORMATS)[number];

/** Whether a cache is kept in fewer bits than the graph has it in. Only the native core does that. */
export function isNarrow(cache: CacheFormat | undefined): cache is 'fp16' | 'int8' {
  return cache !== undefined && cache !== 'fp32';
}
