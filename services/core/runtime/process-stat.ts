/** What proc(5) says of a process in its `stat`. */
export interface ProcessStat {
  /** One letter: T is stopped, Z is dead and waits to be collected. */
  readonly state: string
  readonly parent: number
  /** In ticks since the machine began: together with the pid it names one process, also when pids are used again. */
  readonly startedAt: string
  /** As wait(2) has it; 0 also for whoever may not look into the process. */
  readonly exitStatus: number
}

/** The command's name stands in parentheses and may hold anything, so fields are counted from its end: the first is the third. */
export function readStat(stat: string): ProcessStat {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    startedAt: fields[19] ?? '',
    exitStatus: Number(fields[49]),
  }
}
