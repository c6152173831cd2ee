/** What the tools of tasks ask of a member, and what they tell a model of its answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Task } from '#fleet/task.ts'
import { callTool, SHOWN_TOOLS } from '#mcp/tools.ts'
import type { Member, ReportedTask } from '#member/member.ts'

const TASK = {
  ...{ id: 't-1', state: 'in_progress', priority: 'P1', role: 'coding', holder: 'conv_1/b', epoch: 3 },
  ...{ progress: '40 %', description: 'mend it\nall of it', deadline: Date.parse('2026-11-30T08:00:00Z') },
  checkpoint: 'login.ts is mended',
} as unknown as Task
const BARE = {
  ...TASK,
  role: null,
  holder: null,
  progress: null,
  deadline: null,
  checkpoint: undefined,
} as unknown as Task
const DONE: ReportedTask = { task: 't-1', epoch: 3, session: 'conv_1/b', state: 'carried', why: null }

/** Calls a tool of a member that answers so, and answers what the member was asked and what the model reads. */
async function called(
  tool: string,
  input: object,
  answer: unknown = DONE,
): Promise<{ asked: unknown[]; told: object }> {
  const asked: unknown[] = []
  const member = new Proxy({} as Member, {
    get: (_, verb) => {
      if (verb === 'then') return undefined
      if (verb === 'noteCall') return async () => []
      return async (_as: unknown, ...rest: unknown[]) => {
        asked.push(verb, ...rest)
        return answer
      }
    },
  })
  const { text, isError } = await callTool(async () => member, tool, { ...input })
  assert.equal(isError, false, text)
  return { asked, told: JSON.parse(text) }
}

const SHORT = { task_id: 't-1', state: 'in_progress', priority: 'P1', epoch: 3, description: 'mend it' }
const FULL = { ...SHORT, role: 'coding', holder: 'conv_1/b', progress: '40 %', deadline: '2026-11-30T08:00:00.000Z' }

test('open tasks are listed, fifty of them, and all where that is asked for', async () => {
  const { asked, told } = await called('list_tasks', {}, [TASK, BARE])
  assert.deepEqual(asked, ['tasks', { open: true, limit: 50 }])
  assert.deepEqual(told, { tasks: [FULL, SHORT] })
  assert.deepEqual((await called('list_tasks', { all: true, limit: 3 }, [])).asked, [
    'tasks',
    { open: false, limit: 3 },
  ])
  assert.deepEqual((await called('list_tasks', { all: false }, [])).asked, ['tasks', { open: true, limit: 50 }])
})

test('of a task in a list the first line is shown, as far as it is not long', async () => {
  const shown = async (description: string): Promise<unknown> => {
    const { told } = await called('list_tasks', {}, [{ ...BARE, description }])
    return (told as { tasks: [{ description: string }] }).tasks[0].description
  }
  assert.equal(await shown('x'.repeat(200)), 'x'.repeat(200))
  assert.equal(await shown('x'.repeat(201)), `${'x'.repeat(200)}…`)
  assert.equal(await shown(`${'x'.repeat(199)}\u{1f600}y`), `${'x'.repeat(199)}…`)
})

test('a task that was taken is shown whole, with what its last holder left and who renews its lease', async () => {
  const { asked, told } = await called('take_task', {}, { task: TASK, renewal: 'keepalive renews it' })
  assert.deepEqual(asked, ['take', null])
  assert.deepEqual(
    { ...told, next: '' },
    {
      task: { ...FULL, description: TASK.description, checkpoint: 'login.ts is mended' },
      lease: 'keepalive renews it',
      next: '',
    },
  )
  const bare = await called('take_task', { task_id: 't-1' }, { task: BARE, renewal: '' })
  assert.deepEqual(bare.asked, ['take', 't-1'])
  assert.deepEqual((bare.told as { task: object }).task, { ...SHORT, description: TASK.description })
  assert.match(String(Object(await called('take_task', {}, null)).told.note), /no task waits/)
})

test('progress is its percent, its note and its checkpoint, each of which may be left out', async () => {
  const whole = await called('report_progress', { task_id: 't-1', percent: 0, note: 'a note', checkpoint: 'a place' })
  assert.deepEqual(whole.asked, ['progress', 't-1', { percent: 0, note: 'a note', checkpoint: 'a place' }])
  assert.deepEqual(whole.told, { task_id: 't-1', epoch: 3, state: 'carried', means: 'the fleet has it' })
  const { asked } = await called('report_progress', { task_id: 't-1' })
  assert.deepEqual(asked, ['progress', 't-1', { percent: null, note: null, checkpoint: null }])
})

test('an end says which, with what was done or why it cannot be, and why it waits', async () => {
  const done = await called('complete_task', { task_id: 't-1', result: 'merged' })
  assert.deepEqual(done.asked, ['end', 't-1', 'completed', 'merged'])
  assert.deepEqual((await called('complete_task', { task_id: 't-1' })).asked, ['end', 't-1', 'completed', ''])
  const waits = { ...DONE, state: 'waiting', why: 'the bridge is away' }
  const failed = await called('fail_task', { task_id: 't-1', reason: 'no disk' }, waits)
  assert.deepEqual(failed.asked, ['end', 't-1', 'failed', 'no disk'])
  assert.equal((failed.told as { note: string }).note, 'the bridge is away')
})

test('a task that is given has a priority and, where one is said, a deadline from now on', async () => {
  const least = await called('assign_task', { description: 'mend it' }, TASK)
  const none = { to: null, role: null, id: null, deadlineMs: null, onDeadline: 'fail' }
  assert.deepEqual(least.asked, ['assign', { ...none, description: 'mend it', priority: 'P2' }])
  assert.deepEqual(least.told, { task: FULL })
  const all = { description: 'x', to: 'w-1', role: 'any', priority: 'P0', task_id: 't-9', deadline_minutes: 2 }
  assert.deepEqual((await called('assign_task', all, TASK)).asked, [
    'assign',
    { description: 'x', to: 'w-1', role: 'any', priority: 'P0', id: 't-9', deadlineMs: 120_000, onDeadline: 'fail' },
  ])
})

test('what a tool cannot do without is asked for', () => {
  const required = (name: string) => SHOWN_TOOLS.find((each) => each.name === name)?.inputSchema.required
  assert.deepEqual(
    ['list_tasks', 'take_task', 'report_progress', 'complete_task', 'fail_task', 'assign_task'].map(required),
    [undefined, undefined, ['task_id'], ['task_id'], ['task_id', 'reason'], ['description']],
  )
})
