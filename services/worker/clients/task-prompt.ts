import { indented } from '#console/terminal-text.ts'
import type { Task } from '#fleet/task.ts'
import { attemptsInWords } from '#fleet/task-attempts.ts'

/**
 * What a client is told of its task: facts first, then the description as it was given. `isResumed`: its session has begun this task
 * before. Starts of other agents are named by their sessions.
 */
export function taskPrompt(task: Task, isResumed: boolean): string {
  return `${facts(task, isResumed).join('\n')}\n\n${task.description}\n`
}

function facts(task: Task, isResumed: boolean): string[] {
  const { id, epoch, role, priority, createdBy, deadline, attempts, checkpoint } = task
  const earlier = attempts.filter(({ end }) => end !== null)
  return [
    'S2, which keeps the fleet that this agent belongs to, gives these facts:',
    `- task ${id}, epoch ${epoch}, priority ${priority}${role === null ? '' : `, for the role ${role}`}`,
    `- given by ${createdBy ?? 'a person at the command line of S2'}`,
    ...(deadline === null ? [] : [`- its deadline is ${new Date(deadline).toISOString()}`]),
    ...(isResumed
      ? ['- this session began the task before and was interrupted: some of it may be done, here or by another agent']
      : []),
    ...(earlier.length === 0 || isResumed ? [] : ['- it was begun before, so that some of it may be done already:']),
    ...(isResumed ? [] : attemptsInWords({ attempts: earlier }, (session) => session).map((line) => `  ${line}`)),
    ...(checkpoint === undefined || checkpoint === ''
      ? []
      : ['- what its last holder left to go on from:', indented(checkpoint)]),
    `- the tools complete_task and fail_task of the server s2, or the commands \`s2 task done ${id} --result TEXT\` and \`s2 task fail ${id} --why TEXT\`, say how the task ended; the turn ends after that`,
    '- report_progress tells people how far it is, and keeps a checkpoint for whoever goes on with it; check_messages reads mail',
    '- nobody is there to answer questions; where no tool says how it ended, the last message of this turn is kept as the result',
    '',
    isResumed ? 'The description of the task, once more:' : 'The description of the task, as it was given:',
  ]
}
