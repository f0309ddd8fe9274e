/** The prompts for verification: a sentence, and a text in several scripts that fills any window of attention. */
import type { Tokenizer } from '../../../formats/tokenizer/index.ts';
import type { ModelSpec } from '../../core/model.ts';

export interface VerifyPrompt {
  readonly name: string;
  /** null if the model has no tokenizer. The ids are then numbers without a meaning. */
  readonly text: string | null;
  readonly ids: readonly number[];
}

const SENTENCE = 'The river was higher than anyone in the village could';

const TEXT = `The lighthouse keeper counted 1,204 steps from the harbour to the lamp room, and on the 17th of March 1893 he
wrote that number into his book for the last time. "It isn't the height," he used to say; "it's what you carry up." He
carried oil, 12.5 litres a trip, and bread, and letters that nobody had answered yet.

Der Wind drehte am Abend über Süden nach Westen; später fiel Schnee auf die Dächer. Le phare s'éteignit à minuit, et
personne ne s'en aperçut avant l'aube. Миша спросил, кто будет писать дальше. 灯台守は海を見ていた。他说：“明天会是晴天。”
صباح الخير يا بحر 🌊⛵ – ¿quién apagó la luz?

def steps(height, rise=0.17):
    """Number of steps to a height in metres, and the part that is left over."""
    count = int(height / rise)
    return count, round(height - count * rise, 3)

for metres in (10, 42.5, 205):
    print(f"{metres:>6} m -> {steps(metres)}")

| year | ships | lost |
|------|------:|-----:|
| 1891 |   318 |    4 |
| 1892 |   297 |    0 |

If f(x) = x^2 - 3x + 2, then f(x) = 0 for x = 1 and for x = 2, since (x - 1)(x - 2) = x² − 3x + 2.
The keeper knew nothing of that. He knew that a light which turns once in thirty seconds is seen by a ship for
two of them, and that the two are enough. He kept the glass clean, the clockwork wound and the book dry, and when the
relief boat came at last he asked for nothing but news of the river.
`;

/** Tokens of the long prompt: LONG_TOKENS, or some past a window of attention, as long as that stays quick. */
const LONG_TOKENS = 384;
const PAST_WINDOW_TOKENS = 64;
const MOST_TOKENS = 1152;

/** Positions of a prompt where logits are compared, and tokens decoded after it. */
export const COMPARED_ROWS = 16;
const DECODED_TOKENS = 16;

/** Tokens to decode after each prompt, so that both fit into the context. */
export function decodedTokens({ contextLength }: ModelSpec): number {
  return Math.min(DECODED_TOKENS, Math.floor(contextLength / 2));
}

/** The prompts as ids of the model's tokenizer, or as scattered numbers. `window`: tokens that a layer attends to. */
export function verifyPrompts(tokenizer: Tokenizer | undefined, spec: ModelSpec, window = 0): VerifyPrompt[] {
  const room = spec.contextLength - decodedTokens(spec);
  const long = Math.min(room, MOST_TOKENS, Math.max(LONG_TOKENS, window + PAST_WINDOW_TOKENS));
  if (tokenizer === undefined)
    return [
      { name: 'short', text: null, ids: scatteredIds(Math.min(room, 8), spec.vocabSize) },
      { name: 'long', text: null, ids: scatteredIds(long, spec.vocabSize) },
    ];
  return [
    { name: 'short', text: SENTENCE, ids: tokenizer.encode(SENTENCE).slice(0, room) },
    { name: 'long', ...repeated(TEXT, long, tokenizer) },
  ];
}

/** A text, repeated until it fills `length` tokens. */
function repeated(text: string, length: number, tokenizer: Tokenizer): Pick<VerifyPrompt, 'text' | 'ids'> {
  const times = Math.ceil(length / tokenizer.encode(text, { addSpecialTokens: false }).length);
  const whole = text.repeat(times);
  return { text: whole, ids: tokenizer.encode(whole).slice(0, length) };
}

/** Ids from all over the vocabulary, the same each time: a linear congruence (Knuth, volume 2, 3.3.4). */
function scatteredIds(count: number, vocabSize: number): number[] {
  let state = 1;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  });
}
