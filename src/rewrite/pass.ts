/** What a rewriting pass is, and how it says what it did. */
import type { Graph } from '../core/graph.ts';

/** What one rule did at one place. "Does not apply" is a value with a reason, never an exception. */
export interface RuleReport {
  readonly rule: string;
  /** Where: `layers.<i>.ffn`, or the value that a norm reads. */
  readonly block: string;
  readonly applied: boolean;
  /** What was done, or why nothing was. */
  readonly reason: string;
  /** Names of the nodes that the rule added. */
  readonly nodes?: readonly string[];
}

export interface PassResult {
  readonly graph: Graph;
  readonly report: readonly RuleReport[];
}

/** A step from graph to graph; `Context` is what it needs to know beside the graph. */
export interface Pass<Context = undefined> {
  readonly name: string;
  /** Before -> after, in one line. */
  readonly description: string;
  readonly apply: (graph: Graph, context: Context) => PassResult;
}
