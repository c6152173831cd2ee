/** Fields of a process's `stat`, proc(5). */
export interface ProcessStat {
  /** One letter: T is stopped, Z is a zombie. */
  readonly state: string
  readonly parent: number
  /** The process group; its leader has this number. */
  readonly group: number
  /** The session; its leader has this number. */
  readonly session: number
  /** Processor time of it and of those children that it has waited for: hundredths of a second on every Linux machine. */
  readonly ticks: number
  /** Ticks since the machine started: with the pid it identifies a process, also when pids are reused. */
  readonly startedAt: string
  /** As in wait(2); 0 also without the right to inspect the process. */
  readonly exitStatus: number
}

/** Parses `stat`. The command's name in parentheses may hold anything, so fields are counted from its end, from the third. */
export function readStat(stat: string): ProcessStat {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    group: Number(fields[2]),
    session: Number(fields[3]),
    ticks: Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14]),
    startedAt: fields[19] ?? '',
    exitStatus: Number(fields[49]),
  }
}
