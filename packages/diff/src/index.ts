export { needsLowerLayers } from './differ-types.ts';
export type * from './differ-types.ts';
export * from './differ.ts';
