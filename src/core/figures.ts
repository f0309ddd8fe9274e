/** Figures for people: shares, sizes, times. */

export function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)} %`;
}

/** "+3.1 %", "-12.0 %". */
export function signedPercent(share: number, digits = 1): string {
  return `${share < 0 ? '-' : '+'}${percent(Math.abs(share), digits)}`;
}

/** "1 thread", "2 threads". */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

const PREFIXES = ['', 'k', 'M', 'G', 'T'] as const;

/** In powers of 1000, as disks and networks count: "10.6 MB". */
export function formatBytes(bytes: number): string {
  return inPowers(bytes, 'B');
}

/** Floating-point operations: "1.9 GFLOP". */
export function formatFlops(flops: number): string {
  return inPowers(flops, 'FLOP');
}

function inPowers(count: number, unit: string): string {
  let scaled = count;
  let power = 0;
  // 999.95 of a unit would be written as 1000.0.
  for (; scaled >= 999.95 && power < PREFIXES.length - 1; power++) scaled /= 1000;
  return `${power === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${PREFIXES[power]}${unit}`;
}

/** "3.2 s", "45 s", "2 min 5 s", "1 h 30 min". */
export function formatSeconds(milliseconds: number): string {
  const tenths = Math.round(milliseconds / 100) / 10;
  if (tenths < 10) return `${tenths.toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 90 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** The sums of the numbers of each key, in the order in which keys are first seen. */
export function sumBy(entries: Iterable<readonly [string, number]>): Record<string, number> {
  const sums = new Map<string, number>();
  for (const [key, count] of entries) sums.set(key, (sums.get(key) ?? 0) + count);
  return Object.fromEntries(sums);
}
