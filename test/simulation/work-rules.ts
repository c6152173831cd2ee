import type { EndReason, Task } from '#fleet/task.ts'
import { countedAttempts } from '#fleet/task-attempts.ts'
import type { Rule } from './rule.ts'
import type { RuleParts } from './rules.ts'

/** A task fails because that is what was to become of it, and not because of what befell an agent, a place or the fleet. */
export function aTaskFailsForAReason({ history, settings }: RuleParts): Rule {
  const objection = (task: Task, reason: EndReason | 'reported'): string | null => {
    const attempts = countedAttempts(task)
    if (reason === 'attempts') return attempts >= settings.watch.attemptsMax ? null : `after ${attempts} attempts`
    return 'though it can be done'
  }
  return {
    onFailed: (task, reason, by) => {
      const why = objection(task, reason)
      if (why !== null) history.violate('a task fails for a reason', `${by} ended ${task.id} (${reason}), ${why}`)
    },
  }
}
