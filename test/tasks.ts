import type { Task } from '#fleet/task.ts'

/** A task in the hands of its holder. */
export function aTask(parts: Partial<Task> = {}): Task {
  return {
    id: 't-1',
    description: 'count the ducks',
    priority: 'P1',
    role: 'tests',
    otherRoles: [],
    state: 'accepted',
    epoch: 3,
    holder: 'conv_0123456789abcdef/b',
    originalAssignee: null,
    incarnation: 'x',
    leaseSeq: 1,
    work: 0,
    moves: 0,
    attempts: [],
    pause: null,
    reminded: 0,
    progress: null,
    result: null,
    deadline: null,
    onDeadline: 'fail',
    onStall: null,
    createdBy: null,
    createdAt: 1,
    updatedAt: 1,
    ...parts,
  }
}
