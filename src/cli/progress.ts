/** Draws progress on stderr: one living line on a terminal, plain lines a few seconds apart elsewhere. */
import ora from 'ora';
import type { Progress, ProgressStage } from '../core/progress.ts';
import type { OutputStream } from './io.ts';

/** Seconds between plain lines: often enough for a log to show life, seldom enough to stay readable. */
const PLAIN_INTERVAL_S = 5;

export type Clock = () => number;

/** `now` is in milliseconds. */
export function createProgress(stream: OutputStream, now: Clock = () => performance.now()): Progress {
  return stream.isTTY ? terminalProgress(stream, now) : plainProgress(stream, now);
}

function plainProgress(stream: OutputStream, now: Clock): Progress {
  return {
    stage(label, total, unit): ProgressStage {
      const started = now();
      let count = 0;
      let last = started;
      stream.write(`${label}\n`);
      return {
        advance(by) {
          count += by;
          if (now() - last < PLAIN_INTERVAL_S * 1000) return;
          last = now();
          stream.write(`${label}: ${describe(count, total, unit, last - started)}\n`);
        },
        done: (note) => stream.write(`${label}: ${note ?? `done in ${seconds(now() - started)}`}\n`),
      };
    },
    note: (text) => stream.write(`${text}\n`),
  };
}

function terminalProgress(stream: OutputStream, now: Clock): Progress {
  return {
    stage(label, total, unit): ProgressStage {
      const started = now();
      let count = 0;
      const spinner = ora({ text: label, stream: stream as NodeJS.WriteStream, discardStdin: false }).start();
      return {
        advance(by) {
          count += by;
          spinner.text = `${label}: ${describe(count, total, unit, now() - started)}`;
        },
        done: (note) => spinner.succeed(`${label}: ${note ?? seconds(now() - started)}`),
      };
    },
    note: (text) => stream.write(`${text}\n`),
  };
}

/** "37 % (5.1 of 13.8 MB, 2.3 MB/s, 4 s left)". */
function describe(count: number, total: number, unit: string, elapsedMs: number): string {
  const rate = elapsedMs > 0 ? (1000 * count) / elapsedMs : 0;
  const left = rate > 0 && total > count ? `, ${seconds((1000 * (total - count)) / rate)} left` : '';
  return `${Math.floor((100 * count) / Math.max(1, total))} % (${amount(count, unit)} of ${amount(total, unit)}, ${amount(rate, unit)}/s${left})`;
}

function amount(count: number, unit: string): string {
  if (unit === 'bytes') return formatBytes(count);
  return `${count >= 100 || Number.isInteger(count) ? Math.round(count) : count.toFixed(1)} ${unit}`;
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const scaled = bytes / 1000 ** power;
  return `${power === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${units[power]}`;
}

function seconds(ms: number): string {
  const s = ms / 1000;
  return s < 90 ? `${s.toFixed(s < 10 ? 1 : 0)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}
