/** What a model may cost and must give, as one line of text: "ppl<=1.02, bytes<=120MB". */
import { LacunaError } from './errors.ts';

/** What a number is multiplied by for its unit. */
const PLAIN = { '': 1 } as const;
const SIZES = { ...PLAIN, kB: 1e3, MB: 1e6, GB: 1e9 } as const;

/** Every figure that a budget may limit. */
export const LIMITS = [
  {
    ...{ name: 'ppl', sign: '<=', of: 'perplexity over that of the checkpoint’s floats', example: '1.02 or 2%' },
    ...{ units: { ...PLAIN, '%': 0.01 }, isPossible: (value: number) => value >= 1 },
  },
  {
    ...{ name: 'kl', sign: '<=', of: 'KL divergence from the checkpoint’s floats, in nats a token', example: '0.02' },
    ...{ units: PLAIN, isPossible: isPositive },
  },
  {
    ...{ name: 'speed', sign: '>=', of: 'decode speed over that of dense int8', example: '1.3' },
    ...{ units: PLAIN, isPossible: isPositive },
  },
  {
    ...{ name: 'bytes', sign: '<=', of: 'size of the model’s files', example: '120MB' },
    ...{ units: SIZES, isPossible: isPositive },
  },
] as const;

function isPositive(value: number): boolean {
  return value > 0;
}

export type LimitName = (typeof LIMITS)[number]['name'];

/** A limit for each figure that has one. */
export type Budget = Readonly<Partial<Record<LimitName, number>>>;

/**
 * Reads a budget: limits with commas between them. Throws `usage` where it cannot be read, limits nothing, limits a figure twice,
 * or asks for what no model can give.
 *
 * @example parseBudget('ppl<=1.02, bytes<=120MB'); // { ppl: 1.02, bytes: 120e6 }
 */
export function parseBudget(text: string): Budget {
  const budget: Partial<Record<LimitName, number>> = {};
  for (const part of text.split(',')) {
    const { name, value } = parseLimit(part.trim(), text);
    if (budget[name] !== undefined) throw unreadable(text, `"${name}" is limited twice`);
    budget[name] = value;
  }
  return budget;
}

function parseLimit(part: string, text: string): { readonly name: LimitName; readonly value: number } {
  const [, name, sign, digits, unit = ''] = /^([a-z]+)\s*([<>]=)\s*([\d.]+)\s*([%a-zA-Z]*)$/.exec(part) ?? [];
  const limit = LIMITS.find((one) => one.name === name);
  if (limit === undefined) throw unreadable(text, part === '' ? 'a limit is empty' : `"${part}" limits no figure`);
  if (sign !== limit.sign) throw unreadable(text, `"${part}" limits ${limit.of} from the wrong side`);
  const factor = Object.entries(limit.units).find(([known]) => known === unit)?.[1];
  if (factor === undefined) throw unreadable(text, `"${part}" has a unit that ${limit.name} has not`);
  // A share is what a ratio adds to 1.
  const value = (unit === '%' ? 1 : 0) + Number(digits) * factor;
  if (Number.isFinite(value) && limit.isPossible(value)) return { name: limit.name, value };
  throw unreadable(text, `no model can keep to "${part}"`);
}

function unreadable(text: string, fault: string): LacunaError {
  const known = LIMITS.map(({ name, sign, example, of }) => `${name}${sign}${example} (${of})`);
  return new LacunaError('usage', `The budget "${text}" cannot be read: ${fault}`, {
    hint: `Give limits with commas between them, as "ppl<=1.02, bytes<=120MB": ${known.join('; ')}.`,
  });
}
