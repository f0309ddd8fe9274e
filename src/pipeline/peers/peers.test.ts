/** Peers that die, break or hang. Programs stand in for Python and do exactly that. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../test/temporary.ts';
import { findPeers, timePeers } from './peers.ts';

const folder = temporaryFolder();
const VERSIONS = '{"onnxruntime-genai": "1.0", "llama.cpp": "2.0"}';
const FIGURES = '{"decodeTokensPerSecond": 50, "prefillTokensPerSecond": 200}';

/** A program that answers --probe with `versions`, behaves as genai with figures, and as llama.cpp does `llama`. */
function fakePython(name: string, llama: string, versions = VERSIONS): string {
  const path = join(folder, name);
  const cases = [`*--probe*) echo '${versions}' ;;`, `*onnxruntime-genai*) echo '${FIGURES}' ;;`, `*) ${llama} ;;`];
  writeFileSync(path, `#!/bin/sh\ncase "$*" in\n${cases.join('\n')}\nesac\n`, { mode: 0o755 });
  return path;
}

const subject = {
  folder,
  model: 'onnx/model.onnx',
  promptTokens: 8,
  steps: 4,
  rounds: 2,
  decode: async () => 100,
  patienceMs: 1000,
};

async function timed(python: string) {
  return timePeers(await findPeers(subject, { python, gguf: 'model.gguf' }), subject, {});
}

const spreadOf = (value: number) => ({ median: value, p10: value, p90: value });
const genai = {
  name: 'onnxruntime-genai',
  version: '1.0',
  decodeTokensPerSecond: spreadOf(50),
  prefillTokensPerSecond: spreadOf(200),
  speedup: spreadOf(2),
};

describe.skipIf(process.platform === 'win32')('a peer that fails', () => {
  it.each([
    ['dies of a signal', 'kill -ILL $$', /^it failed: it was stopped by SIGILL$/],
    ['throws', 'echo "ImportError: no library" >&2; exit 1', /^it failed: ImportError: no library$/],
    ['exits without a word', 'exit 3', /^it failed: it exited with 3$/],
    ['hangs', 'exec sleep 60', /^it failed: it had not ended after 1 s$/],
    ['says nothing', 'exit 0', /^what llama\.cpp answered is no JSON/],
    ['gives no figures', "echo '{}'", /^it answered without figures: \{\}$/],
  ])('%s: it is named with the reason, and the other is timed', async (what, does, failure) => {
    const [first, second] = await timed(fakePython(what.replaceAll(' ', '-'), does));
    expect(first).toEqual(genai);
    expect(second).toEqual({ name: 'llama.cpp', version: '2.0', failure: expect.stringMatching(failure) });
  });

  it('is asked once, not again in each round', async () => {
    const log = join(folder, 'asked');
    await timed(fakePython('counts', `echo asked >> ${log}; exit 1`));
    expect(readFileSync(log, 'utf8')).toBe('asked\n');
  });

  it('is named where it is not installed', async () => {
    const python = fakePython('one', 'exit 1', '{"onnxruntime-genai": "1.0", "llama.cpp": null}');
    const failure = `it is not installed in ${python}`;
    expect(await timed(python)).toEqual([genai, { name: 'llama.cpp', version: null, failure }]);
  });
});

describe.skipIf(process.platform === 'win32')('no peer', () => {
  it('is refused before anything is timed', async () => {
    const python = fakePython('none', 'exit 1', '{"onnxruntime-genai": null, "llama.cpp": null}');
    await expect(findPeers(subject, { python })).rejects.toThrow(`no peer to compare with: ${python} has none`);
  });

  it('is waited for once the signal is aborted', async () => {
    const stop = new AbortController();
    const peers = await findPeers(subject, { python: fakePython('stopped', 'exec sleep 60'), gguf: 'x' });
    const decode = async () => {
      stop.abort();
      return 100;
    };
    const timing = timePeers(peers, { ...subject, decode }, { signal: stop.signal });
    await expect(timing).rejects.toMatchObject({ code: 'interrupted' });
  });
});
