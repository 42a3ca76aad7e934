/** Token scopes: `repository:<name>:pull,push`. */

/** What a request may do. `push` includes `pull`. */
export function repositoryScope(path: string, access: 'pull' | 'push'): string {
  return `repository:${path}:${access === 'push' ? 'pull,push' : 'pull'}`;
}

/**
 * The scopes sorted, each resource once with all its actions. Two lists that ask for the same come out the same, so
 * that the result serves as the key of a cache.
 */
export function mergeScopes(...lists: readonly (readonly string[])[]): string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of lists.flat()) {
    const colon = scope.lastIndexOf(':');
    // What does not look like one is passed on as it is: the registry asked for it.
    const resource = colon <= 0 ? scope : scope.slice(0, colon);
    const wanted = colon <= 0 ? [] : scope.slice(colon + 1).split(',');
    const known = actions.get(resource) ?? new Set<string>();
    for (const action of wanted) if (action !== '') known.add(action);
    actions.set(resource, known);
  }
  return [...actions]
    .map(([resource, known]) => (known.size === 0 ? resource : `${resource}:${[...known].sort().join(',')}`))
    .sort();
}

/** The scopes a challenge names, separated by blanks. */
export function splitScopes(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((scope) => scope !== '');
}
