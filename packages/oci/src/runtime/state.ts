/** The container's state as the runtime specification shows it to callers, hooks and seccomp agents. */

export const containerStatuses = ['creating', 'created', 'running', 'stopped'] as const;

export type ContainerStatus = (typeof containerStatuses)[number];

/** `state` output and what hooks read on stdin. */
export interface State {
  readonly ociVersion: string;
  readonly id: string;
  readonly status: ContainerStatus;
  /** Absent or 0 once the container is stopped. */
  readonly pid?: number;
  readonly bundle: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The message that goes to a seccomp agent beside the listener's descriptor. */
export interface ContainerProcessState {
  readonly ociVersion: string;
  readonly fds: readonly string[];
  readonly pid: number;
  readonly metadata?: string;
  readonly state: State;
}
