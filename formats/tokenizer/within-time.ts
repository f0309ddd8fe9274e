/** Programs that come with a model (regular expressions and templates) end in bounded time. */
import { type Context, createContext, Script } from 'node:vm';
import { type ErrorCode, LacunaError } from '../../src/core/errors.ts';
import { messageOf } from '../../src/core/text.ts';

const script = new Script('action()');
let context: Context | undefined;

/**
 * The result of `action`, if it takes at most `milliseconds`. Otherwise throws 'unsupported', which calls `what`
 * endless. Only the engine itself can stop an action that never yields to other code.
 */
export function withinTime<T>(milliseconds: number, what: string, action: () => T): T {
  context ??= createContext({});
  context.action = action;
  try {
    return script.runInContext(context, { timeout: milliseconds }) as T;
  } catch (error) {
    // The error of another context is not an instance of this context's Error.
    if ((error as { code?: unknown } | undefined)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new LacunaError('unsupported', `${what} has not ended after ${milliseconds / 1000} s`, {
      hint: 'It may be made to never end; get the model from somewhere else.',
    });
  } finally {
    // It holds the text that it is for.
    context.action = undefined;
  }
}

/** What `action` returns; what is thrown in it by code that is not ours is said to be `problem`. */
export function blaming<T>(action: () => T, code: ErrorCode, problem: string, hint: string): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof LacunaError) throw cause;
    throw new LacunaError(code, `${problem}: ${messageOf(cause)}`, {
      hint,
      cause,
    });
  }
}
