export type * from './differ-types.ts';
