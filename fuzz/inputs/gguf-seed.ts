/** A small GGUF file: a LLaMA of two layers with a tokenizer, with weights in several of the format's types. */
import { createRandom } from '../harness/random.ts';

const [LAYERS, HIDDEN, FFN, HEADS, KEY_HEADS, HEAD] = [2, 32, 64, 4, 2, 8];

const PIECES = [...Array.from({ length: 256 }, (_, byte) => byteCharacter(byte)), 'th', 'the', '<s>', '</s>'];

/** How a type stores 32 values: its number in the file, and the bytes of a scale with what follows. */
const TYPES = {
  F32: { code: 0, head: '', bytes: 128 },
  F16: { code: 1, head: '', bytes: 64 },
  Q4_0: { code: 2, head: '0024', bytes: 16 },
  Q8_0: { code: 8, head: '0024', bytes: 32 },
} as const;

type TypeName = keyof typeof TYPES;

/** Tensors by the format's names, with rows and columns. */
function tensors(): readonly (readonly [name: string, shape: readonly number[], type: TypeName])[] {
  const layers = Array.from({ length: LAYERS }, (_, i) => [
    [`blk.${i}.attn_norm.weight`, [HIDDEN], 'F32'] as const,
    [`blk.${i}.attn_q.weight`, [HEADS * HEAD, HIDDEN], 'Q8_0'] as const,
    [`blk.${i}.attn_k.weight`, [KEY_HEADS * HEAD, HIDDEN], 'Q8_0'] as const,
    [`blk.${i}.attn_v.weight`, [KEY_HEADS * HEAD, HIDDEN], 'F16'] as const,
    [`blk.${i}.attn_output.weight`, [HIDDEN, HEADS * HEAD], 'F32'] as const,
    [`blk.${i}.ffn_norm.weight`, [HIDDEN], 'F32'] as const,
    [`blk.${i}.ffn_gate.weight`, [FFN, HIDDEN], 'Q4_0'] as const,
    [`blk.${i}.ffn_up.weight`, [FFN, HIDDEN], 'Q4_0'] as const,
    [`blk.${i}.ffn_down.weight`, [HIDDEN, FFN], 'Q8_0'] as const,
  ]);
  const embedding = ['token_embd.weight', [PIECES.length, HIDDEN], 'F16'] as const;
  return [embedding, ['output_norm.weight', [HIDDEN], 'F32'], ...layers.flat()];
}

export function smallGguf(): Uint8Array {
  const kinds = PIECES.map((piece) => uint32(/^<.+>$/.test(piece) ? 3 : 1));
  const keys: readonly (readonly [name: string, value: Buffer])[] = [
    ['general.architecture', text('llama')],
    ['llama.context_length', number(64)],
    ['llama.embedding_length', number(HIDDEN)],
    ['llama.block_count', number(LAYERS)],
    ['llama.feed_forward_length', number(FFN)],
    ['llama.attention.head_count', number(HEADS)],
    ['llama.attention.head_count_kv', number(KEY_HEADS)],
    ['llama.attention.layer_norm_rms_epsilon', float(1e-5)],
    ['llama.rope.freq_base', float(10_000)],
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('smollm')],
    ['tokenizer.ggml.tokens', array(8, PIECES.map(lengthAndText))],
    ['tokenizer.ggml.token_type', array(5, kinds)],
    ['tokenizer.ggml.merges', array(8, ['t h', 'th e'].map(lengthAndText))],
    ['tokenizer.ggml.bos_token_id', number(258)],
    ['tokenizer.ggml.eos_token_id', number(259)],
    ['tokenizer.chat_template', text('{% for m in messages %}{{ m.content }}{% endfor %}')],
  ];
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [i, [name, shape, type]] of tensors().entries()) {
    const dims = shape.toReversed().map(uint64);
    infos.push(lengthAndText(name), uint32(shape.length), ...dims, uint32(TYPES[type].code), uint64(offset));
    const bytes = padded(values(shape, type, i));
    data.push(bytes);
    offset += bytes.length;
  }
  const counts = [uint64(tensors().length), uint64(keys.length)];
  const metadata = keys.flatMap(([name, value]) => [lengthAndText(name), value]);
  const header = Buffer.concat([Buffer.from('GGUF'), uint32(3), ...counts, ...metadata, ...infos]);
  return Buffer.concat([padded(header), ...data]);
}

/** Padded to the alignment of the format. */
function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)]);
}

/** Small numbers in any type. */
function values(shape: readonly number[], type: TypeName, seed: number): Buffer {
  const random = createRandom(seed);
  const { head, bytes } = TYPES[type];
  const blocks = shape.reduce((product, size) => product * size, 1) / 32;
  const block = () => {
    const content = Buffer.alloc(bytes);
    if (type === 'F32') for (let i = 0; i < 32; i++) content.writeFloatLE(random.int(100) / 1000, 4 * i);
    // 0.125 to 0.25 as halves. Codes of a block may be anything.
    else if (type === 'F16') for (let i = 0; i < 32; i++) content.writeUInt16LE(0x3000 + random.int(0x400), 2 * i);
    else for (let i = 0; i < bytes; i++) content[i] = random.int(256);
    return Buffer.concat([Buffer.from(head, 'hex'), content]);
  };
  return Buffer.concat(Array.from({ length: blocks }, block));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function lengthAndText(value: string): Buffer {
  return Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);
}

// Values of the metadata, each after the number of its type.
const text = (value: string) => Buffer.concat([uint32(8), lengthAndText(value)]);
const number = (value: number) => Buffer.concat([uint32(4), uint32(value)]);
const array = (type: number, items: readonly Buffer[]) =>
  Buffer.concat([uint32(9), uint32(type), uint64(items.length), ...items]);

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([uint32(6), bytes]);
}

/** The character for a byte in byte-level vocabularies. */
function byteCharacter(byte: number): string {
  const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  return String.fromCharCode(isPrintable ? byte : 0x200 + byte);
}
