/** The process in which cases run. It names a case before it begins it, so that a crash has a name. */
import { writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';

/**
 * The pipe to `supervise`. Written synchronously, because queued messages of a process that hangs or dies never arrive.
 */
const REPORTS = 3;

/** Messages of a process, one on each line. */
export type Report =
  | { readonly kind: 'begin'; readonly index: number }
  | { readonly kind: 'end'; readonly index: number; readonly why?: string };

/**
 * Runs cases. `range` holds the first case, their number, and the limit of memory in bytes, which `supervise` puts last
 * into a script's arguments. A case fails by the result of `run`, by an uncaught error, or by memory over the limit. In
 * the last case the process ends, because its peak would count for every later case.
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
    // An error thrown where nobody waits arrives a turn later.
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
