/** JSON with 64-bit numbers written as numbers, as the readers of runc's output expect them. */
export function bigJson(value: unknown): string {
  switch (typeof value) {
    case 'bigint':
      return String(value);
    case 'object':
      break;
    default:
      return JSON.stringify(value) ?? 'null';
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map((one) => bigJson(one)).join(',')}]`;
  const members = Object.entries(value).filter(([, one]) => one !== undefined);
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${bigJson(one)}`).join(',')}}`;
}
