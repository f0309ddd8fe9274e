/** Draws progress on stderr: one changing line on a terminal; elsewhere a line for each stage, more if it is long. */
import type { Ora } from 'ora';
import { formatBytes, formatSeconds } from '../core/figures.ts';
import type { Progress, ProgressStage } from '../core/progress.ts';
import { shown } from '../core/shown.ts';
import type { OutputStream } from './io.ts';
import { wrapText } from './table.ts';

/** Time between plain lines of one stage: short enough for a log to show activity, long enough to stay readable. */
const PLAIN_INTERVAL_MS = 5000;

/** In milliseconds. */
export type Clock = () => number;

export interface DrawnProgress extends Progress {
  /** Ends a stage that is still drawn when its job failed or was stopped: the terminal gets line and cursor back. */
  stop(): void;
}

export async function createProgress(
  stream: OutputStream,
  now: Clock = () => performance.now(),
  redraws = true,
): Promise<DrawnProgress> {
  // A terminal that was never told its width says 0 columns. A line then takes infinitely many rows to clear.
  if (!stream.isTTY || !stream.columns || !redraws) return plainProgress(stream, now);
  // Imported only where it draws: it takes as long to load as the rest of a short command.
  const { default: ora } = await import('ora');
  // stdin is left alone, so that Ctrl-C stays a signal.
  const spinner = ora({ stream: stream as NodeJS.WriteStream, discardStdin: false, isEnabled: true });
  return terminalProgress(stream, stream.columns, now, spinner);
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

/** Columns of the spinner and the space after it. */
const SPINNER_WIDTH = 2;

function terminalProgress(stream: OutputStream, columns: number, now: Clock, spinner: Ora): DrawnProgress {
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
          const room = columns - SPINNER_WIDTH - label.length - 2;
          spinner.text = `${label}: ${running(count, total, unit, now() - started, room)}`;
        },
        done(note) {
          drawn = undefined;
          const text = `${label}: ${ended(note, total, unit, now() - started)}`;
          spinner.succeed(wrapText(text, columns - SPINNER_WIDTH));
        },
      };
    },
    note(text) {
      const wrapped = `${wrapText(shown(text), columns)}\n`;
      if (drawn === undefined) return void stream.write(wrapped);
      spinner.clear();
      stream.write(wrapped);
      spinner.render();
    },
    stop() {
      if (drawn !== undefined) spinner.fail(drawn);
      drawn = undefined;
    },
  };
}

/** "37 % (5.1 MB of 13.8 MB, 2.3 MB/s, 3.8 s left)". A line that is too long loses the speed first, then the amount. */
function running(count: number, total: number, unit: string, elapsedMs: number, room = Infinity): string {
  const done = `${unit === 'bytes' ? formatBytes(count) : count} of ${amount(total, unit)}`;
  const share = `${Math.floor((100 * count) / Math.max(1, total))} %`;
  const perMs = elapsedMs > 0 && count > 0 ? count / elapsedMs : undefined;
  const speed = perMs === undefined ? [] : [`${amount(1000 * perMs, unit)}/s`];
  const left = perMs === undefined || total <= count ? [] : [`${formatSeconds((total - count) / perMs)} left`];
  const forms = [[done, ...speed, ...left], [done, ...left], left].map((parts) => `${share} (${parts.join(', ')})`);
  return forms.find((form) => form.length <= room) ?? share;
}

/** "13.8 MB in 6.0 s", or the stage's own note. */
function ended(note: string | undefined, total: number, unit: string, elapsedMs: number): string {
  return note === undefined
    ? `${amount(total, unit)} in ${formatSeconds(elapsedMs)}`
    : `${note} (${formatSeconds(elapsedMs)})`;
}

function amount(count: number, unit: string): string {
  if (unit === 'bytes') return formatBytes(count);
  return `${count >= 100 || Number.isInteger(count) ? Math.round(count) : count.toFixed(1)} ${unit}`;
}
