import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { TEXT_MAX } from '#fleet/message.ts'
import { DESCRIPTION_MAX, PRIORITIES } from '#fleet/task.ts'
import {
  readAssignmentNews,
  readTaskMessage,
  type TaskMessage,
  unknownWordOf,
  writeTaskMessage,
} from '#fleet/task-messages.ts'

const task = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
const epoch = fc.option(fc.nat())
const line = fc.string({ minLength: 1, maxLength: 100 }).filter((text) => text.trim() !== '')
const session = fc.option(fc.constantFrom('conv_0123456789abcdef/b', 'conv_1/a'))
const letter: fc.Arbitrary<TaskMessage> = fc.oneof(
  fc.record({
    type: fc.constant('task_assignment' as const),
    task,
    epoch,
    description: line,
    priority: fc.constantFrom(...PRIORITIES),
    role: fc.option(fc.constantFrom('backend', 'wsl-cli')),
    originalAssignee: fc.option(fc.constantFrom('s2-worker-3', 'worker-3-tests')),
    timeoutMs: fc.option(fc.integer({ min: 1, max: 365 * 86_400_000 })),
  }),
  fc.record({ type: fc.constant('task_revoked' as const), task, epoch, reason: line }),
  fc.record({ type: fc.constant('task_moved' as const), task, from: session, to: session, reason: line }),
  fc.record({
    type: fc.constant('status_update' as const),
    task,
    epoch,
    status: fc.constantFrom('accepted', 'in_progress', 'blocked', 'completed', 'failed', 'declined', 'cancelled'),
    summary: fc.option(line),
  }),
  fc.record({ type: fc.constant('acknowledgment' as const), task, epoch }),
)

suite('letters about tasks', () => {
  test('what is written is read back', () => {
    fc.assert(
      fc.property(letter, (written) => {
        const { text, action } = writeTaskMessage(written)
        assert.equal(action, written.type)
        assert.deepEqual(readTaskMessage(text), { ...written })
      }),
    )
  })

  test('no text is too hostile to be read', () => {
    const words = fc.constantFrom(
      'type',
      'task_id',
      'status',
      'epoch',
      '__proto__',
      'task_assignment',
      'status_update',
      'x',
    )
    const json = fc.letrec((tie) => ({
      value: fc.oneof(fc.jsonValue(), words, fc.array(tie('value'), { maxLength: 3 }), tie('fields')),
      fields: fc.dictionary(words, tie('value'), { maxKeys: 5 }),
    })).fields
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          json.map((value) => JSON.stringify(value)),
        ),
        (text) => {
          const read = readTaskMessage(text)
          if (read !== null) assert.match(read.task, /^[\w.-]{1,64}$/)
          unknownWordOf(text)
          readTaskMessage(`\`\`\`json\n${text}\n\`\`\``)
        },
      ),
      { numRuns: 2_000 },
    )
    for (const open of ['[', '{"type":', '{"a":{']) assert.equal(readTaskMessage(`{"a":${open.repeat(9_000)}}`), null)
    assert.equal(readTaskMessage(`{"type":"acknowledgment","task_id":"x","y":"${' '.repeat(TEXT_MAX)}"}`), null)
  })

  test('words of foreign agents are understood', () => {
    const status = (word: unknown): unknown => {
      const read = readTaskMessage(JSON.stringify({ type: 'status_update', task_id: 'T', status: word }))
      return read?.type === 'status_update' ? read.status : read
    }
    assert.deepEqual(['completed', 'Done', ' COMPLETE ', 'finished'].map(status), Array(4).fill('completed'))
    assert.deepEqual(
      ['in_progress', 'in-progress', 'In  Progress', 'working'].map(status),
      Array(4).fill('in_progress'),
    )
    assert.deepEqual(['failed', 'error', 'blocked', 'rejected'].map(status), [
      'failed',
      'failed',
      'blocked',
      'declined',
    ])
    assert.deepEqual(['', 'idle', 'toString', '__proto__', 7, null, ['done']].map(status), Array(7).fill(null))
  })

  test('types say how a task is, where no status does', () => {
    const read = (fields: object): unknown => {
      const said = readTaskMessage(JSON.stringify({ task_id: 'T', ...fields }))
      return said?.type === 'status_update' ? [said.status, said.summary] : (said?.type ?? null)
    }
    assert.deepEqual(read({ type: 'task_complete' }), ['completed', null])
    assert.deepEqual(read({ type: 'Task-Failed', error: 'no disk' }), ['failed', 'no disk'])
    assert.deepEqual(read({ type: 'cancel_task', reason: 'not needed' }), ['cancelled', 'not needed'])
    assert.deepEqual(read({ type: 'progress', progress: 25 }), ['in_progress', '25 %'])
    assert.deepEqual(read({ type: 'task_status', status: 'done' }), ['completed', null])
    assert.deepEqual(read({ type: 'task_timed_out' }), ['failed', null])
    assert.equal(read({ type: 'task_ack' }), 'acknowledgment')
    for (const type of [
      'complete_task',
      'error',
      'ok',
      'test_task',
      'task_',
      'task_result',
      '__proto__',
      'constructor',
    ])
      assert.equal(read({ type }), null, type)
    assert.equal(read({ type: 'progress', status: 'sideways' }), null)
  })

  test('what nobody can read in a message about a task is named, without secrets and in few characters', () => {
    const word = (fields: object): string | null => unknownWordOf(JSON.stringify({ task_id: 'T', ...fields }))
    assert.equal(word({ type: 'test_task' }), 'test_task')
    assert.equal(word({ type: 'status_update', status: 'sideways' }), 'status_update of status "sideways"')
    assert.equal(word({ type: 'task_assignment', task_id: 'no id!' }), 'task_assignment of task_id "no id!"')
    assert.equal(word({ type: `ghp_${'a1B2'.repeat(9)}` }), '[redacted github-token]')
    assert.equal(word({ type: 'x'.repeat(500) })?.length, 60)
    assert.equal(word({ type: 'task_assignment', description: 'x' }), null)
    assert.equal(word({ type: 7 }), null)
    for (const text of ['', 'task_id', '{"type":"test_task"}', '{"type":', '[]', 'null'])
      assert.equal(unknownWordOf(text), null, text)
  })

  test('the news for the program of a worker: a task to begin, and one to stop', () => {
    const news = (side: 'a' | 'b', fields: object): unknown =>
      readAssignmentNews({ from: `conv_1/${side}`, text: JSON.stringify({ task_id: 'T', ...fields }) })
    assert.deepEqual(news('a', { type: 'task_assignment' }), { is: 'assigned', task: 'T' })
    assert.deepEqual(news('a', { type: 'task_revoked', reason: 'x' }), {
      is: 'revoked',
      task: 'T',
      epoch: null,
      reason: 'x',
    })
    assert.deepEqual(news('a', { type: 'task_revoked', epoch: 3, reason: 'x' }), {
      ...{ is: 'revoked', task: 'T', epoch: 3, reason: 'x' },
    })
    assert.deepEqual(news('a', { type: 'task_cancelled' }), {
      is: 'revoked',
      task: 'T',
      epoch: null,
      reason: 'it was withdrawn',
    })
    assert.equal(news('b', { type: 'task_cancelled' }), null)
    assert.equal(news('a', { type: 'status_update', status: 'blocked' }), null)
  })

  test('an assignment may say little', () => {
    const read = (fields: object): TaskMessage | null =>
      readTaskMessage(JSON.stringify({ type: 'task_assignment', task_id: 3, ...fields }))
    assert.deepEqual(read({ title: 'tidy up', priority: 'URGENT', role: '<b>' }), {
      type: 'task_assignment',
      task: '3',
      epoch: null,
      description: 'tidy up',
      priority: 'P0',
      role: null,
      originalAssignee: null,
      timeoutMs: null,
    })
    const bare = read({ priority: 9, epoch: -1 })
    assert.equal(
      bare?.type === 'task_assignment' && bare.description,
      '{"type":"task_assignment","task_id":3,"priority":9,"epoch":-1}',
    )
  })

  test('a timeout is seconds, as a number or as text; what makes no sense is none', () => {
    const read = (timeout: unknown): unknown => {
      const found = readTaskMessage(JSON.stringify({ type: 'task_assignment', task_id: 'T', timeout }))
      return found?.type === 'task_assignment' ? found.timeoutMs : found
    }
    assert.deepEqual(
      [300, '300', ' 1.5 ', 0.25, 365 * 86_400].map(read),
      [300_000, 300_000, 1_500, 250, 31_536_000_000],
    )
    const senseless = [
      0,
      -5,
      '-5',
      '5 minutes',
      '',
      '1e3',
      'NaN',
      null,
      true,
      [300],
      { s: 300 },
      1e300,
      365 * 86_400 + 1,
    ]
    assert.deepEqual(senseless.map(read), Array(senseless.length).fill(null))
    assert.equal(readTaskMessage('{"type":"task_assignment","task_id":"T","timeout":1e999}')?.task, 'T')
    const { text } = writeTaskMessage({
      type: 'task_assignment',
      task: 'T',
      epoch: 1,
      description: 'x',
      priority: 'P2',
      role: null,
      originalAssignee: null,
      timeoutMs: 90_500,
    })
    assert.equal(JSON.parse(text).timeout, 90.5)
  })

  test('JSON between fences counts, JSON in prose does not', () => {
    const json = '{"type":"acknowledgment","task_id":"T"}'
    assert.equal(readTaskMessage(`\n\`\`\`json\n${json}\n\`\`\`\n`)?.task, 'T')
    assert.equal(readTaskMessage(`Sure! ${json}`), null)
  })

  test('an assignment always fits a message', () => {
    fc.assert(
      fc.property(fc.constantFrom('"', '\u0000', 'x', '\ud800', '😀'), (mark) => {
        const description = mark.repeat(DESCRIPTION_MAX / mark.length)
        const { text } = writeTaskMessage({
          type: 'task_assignment',
          task: 'T',
          epoch: 1,
          description,
          priority: 'P0',
          role: null,
          originalAssignee: null,
          timeoutMs: null,
        })
        assert.ok(text.length <= TEXT_MAX)
        assert.equal(readTaskMessage(text)?.task, 'T')
      }),
    )
  })
})
