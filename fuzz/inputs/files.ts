/** The files of an input in memory, changed and written anew for each case. */
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, relative } from 'node:path';
import type { Random } from '../harness/random.ts';
import { filesIn } from '../harness/tree.ts';
import { mutateBytes } from './bytes.ts';
import { mutateGguf } from './gguf.ts';
import { TEMPLATES } from './hostile-values.ts';
import { mutateJson } from './json.ts';
import { mutateProtobuf } from './protobuf.ts';
import { mutateSafetensors } from './safetensors.ts';

export type InputFile =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Has the size `length`; after the bytes the disk holds nothing. */
  | { readonly kind: 'sparse'; readonly bytes: Uint8Array; readonly length: number }
  | { readonly kind: 'folder' }
  | { readonly kind: 'link'; readonly target: string };

/** By path in the input's folder. */
export type InputFiles = ReadonlyMap<string, InputFile>;

export function readInput(folder: string): InputFiles {
  return new Map(filesIn(folder).map((path) => [relative(folder, path), { kind: 'bytes', bytes: readFileSync(path) }]));
}

export function writeInput(files: InputFiles, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, file] of files) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    if (file.kind === 'folder') mkdirSync(path);
    else if (file.kind === 'link') symlinkSync(file.target, path);
    else writeFileSync(path, file.bytes);
    if (file.kind === 'sparse') truncateSync(path, file.length);
  }
}

/** `files` with one of them changed in one place. `seed` decides how. */
export function mutateInput(files: InputFiles, name: string, random: Random): InputFiles {
  const result = new Map(files);
  const file = files.get(name);
  if (file?.kind !== 'bytes') return result;
  const { bytes } = file;
  if (!random.chance(0.03)) return result.set(name, { kind: 'bytes', bytes: mutateContent(name, bytes, random) });
  const changes: readonly (() => unknown)[] = [
    () => result.delete(name),
    () => result.set(name, { kind: 'bytes', bytes: new Uint8Array(0) }),
    () => result.set(name, files.get(random.pick([...files.keys()])) ?? file),
    () => result.set(name, { kind: 'folder' }),
    () => result.set(name, { kind: 'link', target: '/dev/zero' }),
    () => result.set(name, { kind: 'link', target: 'nowhere' }),
    () => result.set(name, { kind: 'sparse', bytes, length: random.pick([2 ** 27, 2 ** 31]) }),
  ];
  random.pick(changes)();
  return result;
}

function mutateContent(name: string, bytes: Uint8Array, random: Random): Uint8Array {
  switch (extname(name)) {
    case '.json':
    case '.jsonl': {
      const text = random.chance(0.9) ? mutateJson(Buffer.from(bytes).toString('utf8'), random) : undefined;
      return text === undefined ? mutateBytes(bytes, random) : Buffer.from(text);
    }
    case '.safetensors':
      return mutateSafetensors(bytes, random);
    case '.gguf':
      return mutateGguf(bytes, random);
    case '.onnx':
      return mutateProtobuf(bytes, random);
    case '.jinja':
      return random.chance(0.7) ? Buffer.from(random.pick(TEMPLATES)) : mutateBytes(bytes, random);
    default:
      return mutateBytes(bytes, random);
  }
}
