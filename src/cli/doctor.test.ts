import { copyFileSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { required } from '../../test/real/real-model.ts';
import { lacuna, root, temporaryFolder } from '../../test/temporary.ts';
import type { DoctorResult } from '../index.ts';
import { formatDoctor } from './doctor.ts';

const folder = temporaryFolder();
const lib = join(root, 'native/build/release/lib');

/** An ELF header of a 64-bit little-endian library for a machine, and nothing after it. */
function elf(machine: number): Buffer {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}

async function diagnose(library?: Buffer, addon?: string): Promise<DoctorResult> {
  const nativeFolder = mkdtempSync(join(folder, 'lib-'));
  if (addon !== undefined) copyFileSync(addon, join(nativeFolder, 'lacuna_node.node'));
  if (library !== undefined) writeFileSync(join(nativeFolder, 'liblacuna_ort.so'), library);
  const { code, stdout } = await lacuna(['doctor', '--json'], undefined, undefined, nativeFolder);
  expect(code).toBe(0);
  return JSON.parse(stdout) as DoctorResult;
}

describe.runIf(process.platform === 'linux')('lacuna doctor', () => {
  const [ours, other] = process.arch === 'x64' ? [62, 183] : [183, 62];

  it('names the runtime, and the library with why it is not used', async () => {
    const { runtime, problem, native, kernels } = await diagnose(elf(ours));
    expect(runtime.version).toMatch(/^1\.\d+\.\d+$/);
    expect(problem).toBeNull();
    expect(native.state).toBe('present');
    expect(kernels).toMatchObject({
      active: false,
      why: expect.stringMatching(/session for Node cannot be loaded: Cannot find module/),
    });
  });

  it.skipIf(!required && !existsSync(join(lib, 'lacuna_node.node')))(
    'tries a kernel before it calls them active',
    async () => {
      const { stdout } = await lacuna(['doctor']);
      expect(stdout).toMatch(/\nkernels in this process: active: run and bench decode with them/);
      // A library with a correct header and nothing else.
      const { native, kernels } = await diagnose(elf(ours), join(lib, 'lacuna_node.node'));
      expect(native.state).toBe('present');
      expect(kernels).toMatchObject({
        active: false,
        why: expect.stringMatching(/^an operator cannot be run by its kernel: .*liblacuna_ort\.so/),
      });
    },
  );

  it('says what is wrong with a library that cannot be loaded', async () => {
    expect((await diagnose()).native).toMatchObject({ state: 'absent', why: expect.stringMatching(/build:native/) });
    expect((await diagnose(elf(other))).native).toMatchObject({
      state: 'unusable',
      why: expect.stringMatching(`and this is ${process.arch}`),
    });
    expect((await diagnose(elf(243))).native).toMatchObject({ why: expect.stringMatching(/machine 243/) });
    expect((await diagnose(Buffer.from('text'))).native).toMatchObject({ why: 'it is not a shared library' });
  });

  it('prints a line for each', async () => {
    const { stdout } = await lacuna(['doctor'], undefined, undefined, folder);
    expect(stdout).toMatch(/^lacuna \S+, Node\.js v\S+, linux-/);
    expect(stdout).toMatch(/\nruntime: onnxruntime-node 1\.\S+; computes portable bodies correctly\n/);
    expect(stdout).toMatch(/\nnative library: absent: it is not built \(npm run build:native\)/);
    const result = await diagnose();
    const problem = { message: 'ONNX Runtime is gone', hint: 'Bring it back.' };
    expect(formatDoctor({ ...result, runtime: { name: 'onnxruntime-node', version: null }, problem })).toMatch(
      /runtime: onnxruntime-node \(not loaded\); ONNX Runtime is gone\n {2}Bring it back\.\n/,
    );
  });
});
