import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { OutputStream } from './io.ts';
import { createProgress } from './progress.ts';

async function plain() {
  let written = '';
  let now = 0;
  const progress = await createProgress({ write: (text) => (written += text) }, () => now);
  return { progress, lines: () => written.split('\n').slice(0, -1), wait: (ms: number) => (now += ms) };
}

describe('progress that is no terminal', () => {
  it('is one line for a stage that is soon done', async () => {
    const { progress, lines, wait } = await plain();
    const stage = progress.stage('Writing', 2_000_000, 'bytes');
    wait(1200);
    stage.advance(1_000_000);
    expect(lines()).toEqual([]);
    wait(1200);
    stage.advance(1_000_000);
    stage.done();
    expect(lines()).toEqual(['Writing: 2.0 MB in 2.4 s']);
  });

  it('shows share, rate and time left every five seconds of a long one, and what it found at its end', async () => {
    const { progress, lines, wait } = await plain();
    const stage = progress.stage('Comparing', 100, 'tokens');
    for (let token = 0; token < 4; token++) {
      wait(2500);
      stage.advance(5);
    }
    stage.done('ratio 1.5');
    expect(lines()).toEqual([
      'Comparing: 10 % (10 of 100 tokens, 2 tokens/s, 45 s left)',
      'Comparing: 20 % (20 of 100 tokens, 2 tokens/s, 40 s left)',
      'Comparing: ratio 1.5 (10 s)',
    ]);
  });

  it.each([
    [80, 'Comparing: 5 % (5 of 100 tokens, 2 tokens/s, 48 s left)'],
    [50, 'Comparing: 5 % (5 of 100 tokens, 48 s left)'],
    [35, 'Comparing: 5 % (48 s left)'],
    [20, 'Comparing: 5 %'],
  ])('is a line that a terminal of %i columns holds', async (columns, wanted) => {
    const drawn: string[] = [];
    const stream = new Writable({ write: (chunk, _, done) => done(void drawn.push(String(chunk))) });
    const noop = () => true;
    const cursor = { cursorTo: noop, clearLine: noop, moveCursor: noop, hasColors: () => false };
    let now = 0;
    const terminal = Object.assign(stream, cursor, { isTTY: true, columns });
    const progress = await createProgress(terminal as unknown as OutputStream, () => now);
    const stage = progress.stage('Comparing', 100, 'tokens');
    now = 2500;
    stage.advance(5);
    await expect.poll(() => drawn.join('')).toContain(wanted);
    progress.stop();
    expect(drawn.join('')).not.toContain(`${wanted} (`);
  });

  it('is whole lines where nothing can be drawn anew', async () => {
    let written = '';
    const terminal = { write: (text: string) => (written += text), isTTY: true, columns: 80 };
    const progress = await createProgress(terminal, () => 0, false);
    progress.stage('Timing', 3, 'rounds').done();
    expect(written).toBe('Timing: 3 rounds in 0.0 s\n');
  });

  it('is also what a terminal gets that does not know its width', async () => {
    let written = '';
    const progress = await createProgress({ write: (text) => (written += text), isTTY: true, columns: 0 }, () => 0);
    progress.stage('Timing', 3, 'rounds').done();
    expect(written).toBe('Timing: 3 rounds in 0.0 s\n');
  });
});
