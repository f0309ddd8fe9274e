/** The process in which cases run: it says which case it begins before it begins it, so that a crash has a name. */
import { writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';

/** The pipe to `supervise`. Written to at once: what is queued in a process that hangs or dies never arrives. */
const REPORTS = 3;

/** What a process says of itself, a line each. */
export type Report =
  | { readonly kind: 'begin'; readonly index: number }
  | { readonly kind: 'end'; readonly index: number; readonly why?: string };

/**
 * Runs cases: `range` is the first, how many, and the limit of memory in bytes, as `supervise` puts them last into a
 * script's arguments. A case fails by what `run` gives, by what nobody caught, and by memory over the limit, after which
 * the process ends: its peak would be every later case's.
 */
export async function serve(
  range: readonly string[],
  run: (index: number) => Promise<string | undefined>,
): Promise<void> {
  const [from, count, maxBytes] = range.map(Number);
  let stray: string | undefined;
  const keep = (error: unknown) => {
    stray ??= `nobody caught ${error instanceof Error ? error.stack : String(error)}`;
  };
  process.on('uncaughtException', keep);
  process.on('unhandledRejection', keep);
  for (let index = from; index < from + count; index++) {
    stray = undefined;
    say({ kind: 'begin', index });
    const found = await run(index).catch((error) => `the case itself: ${error?.stack ?? error}`);
    // What was thrown where nobody waits is met a turn later.
    await setImmediate();
    const peak = process.resourceUsage().maxRSS * 1024;
    const isLarge = peak > maxBytes;
    const why = found ?? stray ?? (isLarge ? `took ${Math.round(peak / 2 ** 20)} MB of memory` : undefined);
    say({ kind: 'end', index, ...(why !== undefined && { why }) });
    if (isLarge) process.exit(0);
  }
  process.exit(0);
}

function say(report: Report): void {
  writeSync(REPORTS, `${JSON.stringify(report)}\n`);
}
