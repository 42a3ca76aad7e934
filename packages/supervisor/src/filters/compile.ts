/** Filters as functions. */
import { parseFilter } from './parse.ts';
import type { Selector } from './parse.ts';
import { compileExpression } from './regular-expression.ts';

/** The fields of an object as a filter sees them: the text at a path, undefined when it is absent. */
export type Adaptor = (path: readonly string[]) => string | undefined;

/** Whether an object, seen through its adaptor, is wanted. */
export type Filter = (adaptor: Adaptor) => boolean;

/**
 * One of the filters has to hold; none at all, or one that is empty, lets everything through. Throws invalid argument
 * `filters: parse error: …`. A regular expression that cannot be run matches nothing.
 */
export function compileFilters(filters: readonly string[]): Filter {
  const alternatives = filters.map((filter) => parseFilter(filter).map(compileSelector));
  if (alternatives.length === 0 || alternatives.some((tests) => tests.length === 0)) return () => true;
  return (adaptor) => alternatives.some((tests) => tests.every((test) => test(adaptor)));
}

function compileSelector({ path, operator, value }: Selector): Filter {
  switch (operator) {
    case 'present':
      return (adaptor) => adaptor(path) !== undefined;
    case '==':
      return (adaptor) => adaptor(path) === value;
    case '!=':
      return (adaptor) => (adaptor(path) ?? '') !== value;
    case '~=': {
      const matches = compileExpression(value) ?? ((): boolean => false);
      return (adaptor) => matches(adaptor(path) ?? '');
    }
  }
}
