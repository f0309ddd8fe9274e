/** A name goes in wherever a checkpoint does, and is looked up only where nothing of that name is here. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type HubDouble, startHubDouble } from '../src/hub/testing/server.ts';
import { lacuna, root, temporaryFolder } from './temporary.ts';

const folder = temporaryFolder();
const source = join(root, 'fixtures/llama-variants/attention-bias');
const names = ['config.json', 'model.safetensors'];
const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(source, name))]));
const signal = new AbortController().signal;

let server: HubDouble;
beforeAll(async () => {
  server = await startHubDouble({ 'org/model': { files, large: ['model.safetensors'] } });
});
afterAll(() => server.close());

const run = (...args: string[]) =>
  lacuna(args, signal, { endpoint: server.endpoint, cacheFolder: join(folder, 'cache'), retryDelayMs: 1 });

test('convert and inspect take a name', async () => {
  const { code, stderr } = await run('convert', 'org/model', '-o', join(folder, 'named'));
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('Downloading org/model') });
  expect(await lacuna(['convert', source, '-o', join(folder, 'local'), '--quiet'])).toMatchObject({ code: 0 });
  const model = (name: string) => readFileSync(join(folder, name, 'onnx/model.onnx_data'));
  expect(model('named').equals(model('local'))).toBe(true);
  const { stdout } = await run('inspect', 'org/model', '--json');
  expect(JSON.parse(stdout).checkpoint.spec.numHiddenLayers).toBe(2);
});

test('inspect looks a name up without a download where it is asked to', async () => {
  const elsewhere = { endpoint: server.endpoint, cacheFolder: join(folder, 'other cache'), retryDelayMs: 1 };
  const look = (...more: string[]) => lacuna(['inspect', 'org/model', '--no-download', ...more], signal, elsewhere);
  const { code, stdout } = await look('--json');
  const bytes = names.map((name) => files[name].length);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    kind: 'hub',
    id: 'org/model',
    files: names.map((name, index) => ({ name, bytes: bytes[index] })),
    missingBytes: bytes[0] + bytes[1],
  });
  expect((await look()).stdout).toMatch(/^org\/model at [0-9a-f]{12}: .* to download\n\nfile +size\n/);
  expect(existsSync(elsewhere.cacheFolder)).toBe(false);
  // Of what the first test has downloaded, nothing is missing.
  expect(JSON.parse((await run('inspect', 'org/model', '--no-download', '--json')).stdout).missingBytes).toBe(0);
  expect(await run('inspect', 'org/nothing', '--no-download')).toMatchObject({ code: 2 });
});

test('a folder that is here is not looked up', async () => {
  const here = join(folder, 'org/model');
  mkdirSync(here, { recursive: true });
  const before = server.requests.length;
  expect(await run('convert', here, '-o', join(folder, 'x'))).toMatchObject({ code: 2 });
  expect(server.requests.length).toBe(before);
});

test('a name that nobody has: exit code 2, a hint, nothing written', async () => {
  const { code, stderr } = await run('convert', 'org/nothing', '-o', join(folder, 'x'));
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('HF_TOKEN') });
  expect(existsSync(join(folder, 'x'))).toBe(false);
});
