/** What is taken down again when gantryd ends, last made first. */
export type Teardown = () => Promise<void> | void;
