import { textHead } from '#fleet/cut-text.ts'
import type { Priority, Task } from '#fleet/task.ts'
import type { ReportedTask } from '#member/member.ts'
import { inputOf, numberIn, SPEAKER_FIELDS, speakerIn, type Tool, type ToolInput, textIn } from './tool.ts'
import type { FieldSchema } from './tool-input.ts'

const TASK_FIELD = {
  task_id: { type: 'string', minLength: 1, maxLength: 64, description: 'Id of the task.' },
} as const satisfies Readonly<Record<string, FieldSchema>>

/** Limits are the store's, which cuts or refuses what is longer: its modules are not loaded to list the tools. */
const PRIORITY_WORDS: readonly Priority[] = ['P0', 'P1', 'P2', 'P3']

export const TASK_TOOLS: readonly Tool[] = [
  {
    name: 'list_tasks',
    title: 'List tasks',
    description:
      'Lists the open tasks that are assigned to you; for an orchestrator, those of its fleet. Use take_task to begin one.',
    inputSchema: inputOf({
      all: { type: 'boolean', description: 'Also those that have ended.' },
      limit: {
        type: 'integer',
        minimum: 1,
        maximum: 200,
        description: 'At most so many, the newest; 50 where left out.',
      },
      ...SPEAKER_FIELDS,
    }),
    effect: 'reads',
    isRepeatable: true,
    async call(member, input) {
      const filter = { open: input.all !== true, limit: numberIn(input, 'limit') ?? 50 }
      return { tasks: (await member.tasks(speakerIn(input), filter)).map(shortTask) }
    },
  },
  {
    name: 'take_task',
    title: 'Take a task',
    description:
      'Begins a task that is assigned to you: this one, or the most urgent. It is yours until complete_task or fail_task, while your client lives. ' +
      'Calling it again gives the same task. The description is the work that the orchestrator wants done.',
    inputSchema: inputOf({ ...TASK_FIELD, ...SPEAKER_FIELDS }),
    effect: 'adds',
    isRepeatable: true,
    async call(member, input) {
      const taken = await member.take(speakerIn(input), textIn(input, 'task_id'))
      if (taken === null)
        return { task: null, note: 'no task waits for you: check_messages tells when one is assigned' }
      return {
        task: wholeTask(taken.task),
        lease: taken.renewal,
        next: 'work on it; report_progress now and then; then complete_task or fail_task',
      }
    },
  },
  {
    name: 'report_progress',
    title: 'Report progress',
    description:
      'Says how far a task has come that you have taken. A checkpoint is what another agent would need to go on from here.',
    inputSchema: inputOf(
      {
        ...TASK_FIELD,
        percent: { type: 'integer', minimum: 0, maximum: 100 },
        note: { type: 'string', description: 'One line for people.' },
        checkpoint: {
          type: 'string',
          description: 'Given to the next holder, should you not finish.',
        },
        ...SPEAKER_FIELDS,
      },
      ['task_id'],
    ),
    effect: 'adds',
    isRepeatable: true,
    async call(member, input) {
      const [percent, note, checkpoint] = [
        numberIn(input, 'percent'),
        textIn(input, 'note'),
        textIn(input, 'checkpoint'),
      ]
      return reported(await member.progress(speakerIn(input), idOf(input), { percent, note, checkpoint }))
    },
  },
  {
    name: 'complete_task',
    title: 'Complete a task',
    description: 'Ends a task that you have taken: it is done. The result is told to whoever gave it.',
    inputSchema: inputOf(
      {
        ...TASK_FIELD,
        result: { type: 'string', description: 'What was done, and where it lies.' },
        ...SPEAKER_FIELDS,
      },
      ['task_id'],
    ),
    effect: 'ends',
    isRepeatable: true,
    async call(member, input) {
      return reported(await member.end(speakerIn(input), idOf(input), 'completed', textIn(input, 'result') ?? ''))
    },
  },
  {
    name: 'fail_task',
    title: 'Fail a task',
    description: 'Ends a task that you have taken and cannot do. Say why, so that somebody can mend it.',
    inputSchema: inputOf(
      {
        ...TASK_FIELD,
        reason: { type: 'string', minLength: 1, description: 'Why it cannot be done.' },
        ...SPEAKER_FIELDS,
      },
      ['task_id', 'reason'],
    ),
    effect: 'ends',
    isRepeatable: true,
    async call(member, input) {
      return reported(await member.end(speakerIn(input), idOf(input), 'failed', textIn(input, 'reason') ?? ''))
    },
  },
  {
    name: 'assign_task',
    title: 'Give a task to an agent',
    description:
      'Adds a task for an agent, or for any agent of a role. For orchestrators: a worker asks its orchestrator by send_to_partner.',
    inputSchema: inputOf(
      {
        description: { type: 'string', minLength: 1, description: 'The work to do.' },
        to: { type: 'string', maxLength: 200, description: 'Name of the agent; left out: any of the role.' },
        role: { type: 'string', maxLength: 200, description: 'Role of the agent; "any": whichever.' },
        priority: { type: 'string', enum: PRIORITY_WORDS, description: 'P0 is the most urgent; P2 where left out.' },
        task_id: { type: 'string', maxLength: 64, description: 'An id of your own: the same id twice is one task.' },
        deadline_minutes: { type: 'integer', minimum: 1, maximum: 525_600, description: 'Then it has failed.' },
        ...SPEAKER_FIELDS,
      },
      ['description'],
    ),
    effect: 'adds',
    isRepeatable: false,
    async call(member, input) {
      const minutes = numberIn(input, 'deadline_minutes')
      const task = await member.assign(speakerIn(input), {
        description: textIn(input, 'description') ?? '',
        to: textIn(input, 'to'),
        role: textIn(input, 'role'),
        priority: (textIn(input, 'priority') as Priority | null) ?? 'P2',
        id: textIn(input, 'task_id'),
        deadlineMs: minutes === null ? null : minutes * 60_000,
        onDeadline: 'fail',
      })
      return { task: shortTask(task) }
    },
  },
]

function idOf(input: ToolInput): string {
  return textIn(input, 'task_id') ?? ''
}

/** Characters of a description's first line in a list. */
const FIRST_LINE_MAX = 200

function shortTask({ id, state, priority, role, holder, progress, epoch, description, deadline }: Task): object {
  const first = description.split('\n', 1)[0] ?? ''
  return {
    task_id: id,
    state,
    priority,
    ...(role === null ? {} : { role }),
    ...(holder === null ? {} : { holder }),
    epoch,
    ...(progress === null ? {} : { progress }),
    ...(deadline === null ? {} : { deadline: new Date(deadline).toISOString() }),
    description: first.length > FIRST_LINE_MAX ? `${textHead(first, FIRST_LINE_MAX)}…` : first,
  }
}

function wholeTask(task: Task): object {
  const { description, checkpoint } = task
  return { ...shortTask(task), description, ...(checkpoint === undefined ? {} : { checkpoint }) }
}

const MEANINGS: Readonly<Record<ReportedTask['state'], string>> = {
  carried: 'the fleet has it',
  noted: 'it is told to the fleet when this turn ends: end it now. The next task comes by itself.',
  waiting: 'kept durably on this host; it leaves when the bridge can be reached. Do not say it again.',
}

function reported({ task, epoch, state, why }: ReportedTask): object {
  return { task_id: task, epoch, state, means: MEANINGS[state], ...(why === null ? {} : { note: why }) }
}
