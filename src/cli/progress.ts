/** Draws progress on stderr: one living line on a terminal; elsewhere a line a stage, and more only when it takes long. */
import type { Ora } from 'ora';
import type { Progress, ProgressStage } from '../core/progress.ts';
import { shown } from '../core/shown.ts';
import { formatBytes, formatSeconds } from './figures.ts';
import type { OutputStream } from './io.ts';

/** Between plain lines of one stage: often enough for a log to show life, seldom enough to stay readable. */
const PLAIN_INTERVAL_MS = 5000;

/** In milliseconds. */
export type Clock = () => number;

export interface DrawnProgress extends Progress {
  /** Ends the stage that is still drawn because its job failed or was stopped: a terminal gets its line and cursor back. */
  stop(): void;
}

export async function createProgress(
  stream: OutputStream,
  now: Clock = () => performance.now(),
): Promise<DrawnProgress> {
  // A terminal that was never told its size says 0 columns; a line then takes up infinitely many to be cleared.
  if (!stream.isTTY || !stream.columns) return plainProgress(stream, now);
  // Loaded where it draws: it takes as long to load as all the rest of a short command.
  const { default: ora } = await import('ora');
  // stdin is left as it is, so that Ctrl-C stays a signal.
  return terminalProgress(stream, now, ora({ stream: stream as NodeJS.WriteStream, discardStdin: false }));
}

function plainProgress(stream: OutputStream, now: Clock): DrawnProgress {
  return {
    stage(label, total, unit): ProgressStage {
      const started = now();
      let count = 0;
      let last = started;
      return {
        advance(by) {
          count += by;
          if (now() - last < PLAIN_INTERVAL_MS) return;
          last = now();
          stream.write(`${label}: ${running(count, total, unit, last - started)}\n`);
        },
        done: (note) => stream.write(`${label}: ${ended(note, total, unit, now() - started)}\n`),
      };
    },
    note: (text) => stream.write(`${shown(text)}\n`),
    stop: () => {},
  };
}

function terminalProgress(stream: OutputStream, now: Clock, spinner: Ora): DrawnProgress {
  let drawn: string | undefined;
  return {
    stage(label, total, unit): ProgressStage {
      const started = now();
      let count = 0;
      drawn = label;
      spinner.start(label);
      return {
        advance(by) {
          count += by;
          spinner.text = `${label}: ${running(count, total, unit, now() - started)}`;
        },
        done(note) {
          drawn = undefined;
          spinner.succeed(`${label}: ${ended(note, total, unit, now() - started)}`);
        },
      };
    },
    note(text) {
      const line = `${shown(text)}\n`;
      if (drawn === undefined) return void stream.write(line);
      spinner.clear();
      stream.write(line);
      spinner.render();
    },
    stop() {
      if (drawn !== undefined) spinner.fail(drawn);
      drawn = undefined;
    },
  };
}

/** "37 % (5.1 MB of 13.8 MB, 2.3 MB/s, 3.8 s left)", "50 % (8 of 16 rounds, 2 rounds/s, 4.0 s left)". */
function running(count: number, total: number, unit: string, elapsedMs: number): string {
  const parts = [`${unit === 'bytes' ? formatBytes(count) : count} of ${amount(total, unit)}`];
  if (elapsedMs > 0 && count > 0) {
    const perMs = count / elapsedMs;
    parts.push(`${amount(1000 * perMs, unit)}/s`);
    if (total > count) parts.push(`${formatSeconds((total - count) / perMs)} left`);
  }
  return `${Math.floor((100 * count) / Math.max(1, total))} % (${parts.join(', ')})`;
}

/** "13.8 MB in 6.0 s", or what the stage itself has to say. */
function ended(note: string | undefined, total: number, unit: string, elapsedMs: number): string {
  return note === undefined
    ? `${amount(total, unit)} in ${formatSeconds(elapsedMs)}`
    : `${note} (${formatSeconds(elapsedMs)})`;
}

function amount(count: number, unit: string): string {
  if (unit === 'bytes') return formatBytes(count);
  return `${count >= 100 || Number.isInteger(count) ? Math.round(count) : count.toFixed(1)} ${unit}`;
}
