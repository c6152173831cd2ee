/**
 * What a conversation calls a task. The id of a task is S2's own and there is one of each; a name is what messages of one
 * conversation say, and another conversation, or the same one later, may mean another task by it.
 */

export interface TaskName {
  readonly conversation: string
  readonly name: string
  readonly task: string
}

/** Characters that an id or a name may have. */
const LENGTH_MAX = 64
/** How an orchestrator of the Python protocol calls a task that it gives to another worker. */
const REASSIGNED = '-reassigned'
const REASSIGNED_NAME = /-reassigned(?:-\d+)?$/

/** An id for another task of this name: the name itself where that is free, else with a number, as `name.2`. */
export function freeId(name: string, isTaken: (id: string) => boolean): string {
  if (!isTaken(name)) return name
  const numbered = (number: number): string => withEnding(name, `.${number}`)
  let free = 2
  while (isTaken(numbered(free))) free *= 2
  let taken = Math.ceil(free / 2)
  while (free - taken > 1) {
    const between = Math.floor((free + taken) / 2)
    if (isTaken(numbered(between))) taken = between
    else free = between
  }
  return numbered(free)
}

/** Whether a message that calls a task so may mean the one of this id. */
export function mayBeNamed(id: string, name: string): boolean {
  if (id === name) return true
  const [ending] = /\.\d+$/.exec(id) ?? []
  return ending !== undefined && withEnding(name, ending) === id
}

/** The name under which a task goes on in another conversation. */
export function reassignedName(name: string, isTaken: (name: string) => boolean): string {
  const base = withoutReassigned(name)
  let reassigned = withEnding(base, REASSIGNED)
  for (let times = 2; isTaken(reassigned); times += 1) reassigned = withEnding(base, `${REASSIGNED}-${times}`)
  return reassigned
}

export function isReassignedName(name: string): boolean {
  return REASSIGNED_NAME.test(name)
}

/** What the task was called before it was reassigned. */
export function withoutReassigned(name: string): string {
  return name.replace(REASSIGNED_NAME, '') || name
}

function withEnding(name: string, ending: string): string {
  return name.slice(0, LENGTH_MAX - ending.length) + ending
}
