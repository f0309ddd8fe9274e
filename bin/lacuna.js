#!/usr/bin/env node
// The only file that touches `process`: arguments and streams in, exit code out.
import * as module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { isatty } from 'node:tty';

// From Node 22 on, Node caches compiled code.
module.enableCompileCache?.();
const { main } = await import('../dist/src/cli/index.js');

/**
 * Milliseconds within which a second signal is an echo of the first: `timeout` and `npm` forward what the terminal also
 * sends.
 */
const ECHO_MS = 500;

/** Standard streams that are a terminal. When it is closed, they are none any more. */
const terminals = [0, 1, 2].filter((stream) => isatty(stream));

const stop = new AbortController();
let stoppedAt;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(name, () => {
    // The first signal lets the job clean up. A second one does not wait.
    if (stoppedAt !== undefined && performance.now() - stoppedAt > ECHO_MS) process.exit(130);
    stoppedAt ??= performance.now();
    stop.abort(new Error(name));
  });
}
// A reader that went away (`| head`) is not our error.
process.stdout.on('error', (error) => process.exit(error.code === 'EPIPE' ? 0 : 2));
// A job also continues when nobody reads its progress any more.
process.stderr.on('error', () => {});

const { env } = process;
process.exitCode = await main(process.argv.slice(2), {
  // Opened on first use, so that a process without standard input runs all the same.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  // The log of a CI job may call itself a terminal. A dumb terminal only knows lines.
  redraws: env.CI === undefined && env.TERM !== 'dumb',
  // The first of these variables that is set decides.
  hasUnicode: /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || ''),
  signal: stop.signal,
  python: env.LACUNA_PYTHON || undefined,
  hub: {
    endpoint: (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, ''),
    token: env.HF_TOKEN || undefined,
    cacheFolder: env.LACUNA_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'lacuna'),
  },
});

// Node gives the terminal its settings back when it ends, and aborts where there is none any more. So a process whose
// terminal was closed ends by the signal that says so.
if (terminals.some((stream) => !isatty(stream))) {
  process.removeAllListeners('SIGHUP');
  process.kill(process.pid, 'SIGHUP');
}
