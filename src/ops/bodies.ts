/** The bodies of a model. Each has a number of its own, since one op type has one body. */
import { LacunaError } from '../core/errors.ts';
import type { OpFunction } from '../core/graph.ts';
import { contractOf, type OperatorName, opTypeOf } from './contract.ts';

/** A body that has no number yet. */
export type Body = Omit<OpFunction, 'name'> & { readonly operator: OperatorName };

export class Bodies {
  readonly #functions: OpFunction[];
  /** Op types by what the function is beside its name. */
  readonly #known: Map<string, string>;

  /** Begins with those that a model has. */
  constructor(functions: readonly OpFunction[]) {
    this.#functions = [...functions];
    this.#known = new Map(functions.map(({ name, ...content }) => [JSON.stringify(content), name]));
  }

  /** Whether there is a number left for a body, or the model has it. */
  hasRoom({ operator, ...content }: Body): boolean {
    return this.#known.has(JSON.stringify(content)) || this.#free(operator) !== undefined;
  }

  /** The op type of a body, which joins the model; throws `unsupported` when all numbers are taken. */
  opTypeOf({ operator, ...content }: Body): string {
    const key = JSON.stringify(content);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const free = this.#free(operator);
    if (free === undefined)
      throw new LacunaError(
        'unsupported',
        `A model holds at most ${contractOf(operator).bodies} different bodies of ${operator}`,
        { hint: 'Let the plan choose in fewer ways.' },
      );
    this.#known.set(key, free);
    this.#functions.push({ ...content, name: free });
    return free;
  }

  get functions(): readonly OpFunction[] {
    return this.#functions;
  }

  #free(operator: OperatorName): string | undefined {
    const taken = new Set(this.#functions.map(({ name }) => name));
    const names = Array.from({ length: contractOf(operator).bodies }, (_, number) => opTypeOf(operator, number));
    return names.find((name) => !taken.has(name));
  }
}
