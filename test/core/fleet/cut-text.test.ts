/** Texts are cut between characters, wherever they are cut: half of a surrogate pair is no text, and the bridge refuses it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { textHead, textTail } from '#fleet/cut-text.ts'
import { cleanDraft, TEXT_MAX } from '#fleet/message.ts'
import { DESCRIPTION_MAX, PROGRESS_MAX, type Report, TAIL_MAX } from '#fleet/task.ts'
import { cutSummary, readTaskMessage, writeTaskMessage } from '#fleet/task-messages.ts'
import { beginTask } from '#fleet/task-ownership.ts'
import { applyReport, cleanReport } from '#fleet/task-reports.ts'
import { previewOf } from '../../../services/fs-watcher/mail-source.ts'

const ROCKET = '🚀'
/** Of one more character in front, so that both an even and an odd cut meet the middle of a pair. */
const TEXTS = [ROCKET.repeat(60_000), `x${ROCKET.repeat(60_000)}`, `${ROCKET.repeat(60_000)}x`]
const HALF = ROCKET.charAt(0)

function assertWhole(text: string | null | undefined, most: number, what: string): void {
  assert.ok(typeof text === 'string' && text.isWellFormed(), `${what} has half a character`)
  assert.ok(text.length <= most && text.length >= most - 2, `${what} has ${text.length} of ${most} characters`)
}

test('a beginning and an end are cut between characters, and no longer than asked', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 9].map((max) => textHead('a🚀b🚀', max)),
    ['', 'a', 'a', 'a🚀', 'a🚀b', 'a🚀b', 'a🚀b🚀'],
  )
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 9].map((max) => textTail('🚀a🚀b', max)),
    ['', 'b', 'b', '🚀b', 'a🚀b', 'a🚀b', '🚀a🚀b'],
  )
  assert.equal(textHead('é', 1), 'é')
})

test('half a character that a text came with is shown as unknown', () => {
  assert.equal(textHead(`a${HALF}b`, 10), 'a\ufffdb')
  assert.equal(textTail(`a${HALF}`, 10), 'a\ufffd')
  assert.equal(textHead(`${HALF}${HALF}${HALF}`, 2), '\ufffd\ufffd')
  assert.equal(textTail(ROCKET.charAt(1).repeat(3), 2), '\ufffd\ufffd')
})

test('what is kept of a report, a task, a message and a summary is cut between characters', () => {
  for (const text of TEXTS) {
    const report = cleanReport({
      task: 't',
      epoch: 1,
      state: 'failed',
      progress: text,
      result: { exitCode: 1, signal: null, tail: text },
    })
    assertWhole(report.progress, PROGRESS_MAX, 'progress')
    assertWhole(report.result?.tail, TAIL_MAX, 'a tail')
    assertWhole(cleanDraft({ text, action: text }).text, TEXT_MAX, 'a message')
    assertWhole(cutSummary(text), 1_000, 'a summary')
    assertWhole(previewOf({ ...MAIL, text }).preview, 200, 'a preview')
    const read = readTaskMessage(
      JSON.stringify({ type: 'task_assignment', task_id: 't', description: text.slice(0, 49_900) }),
    )
    assertWhole(read?.type === 'task_assignment' ? read.description : null, DESCRIPTION_MAX, 'a description')
    const { task } = beginTask({ ...TASK, description: text }, 1)
    assertWhole(task.description, DESCRIPTION_MAX, 'a description')
    const described = writeTaskMessage({ type: 'task_assignment', ...WORK, description: `\u0001${text}` })
    assert.ok(described.text.length <= TEXT_MAX && !/\\ud[89a-f]/i.test(described.text), 'an assignment')
  }
})

test('a report with half a character in any of its texts is kept well-formed', () => {
  const report: Report = {
    task: 't',
    epoch: 1,
    state: 'failed',
    progress: `to ${HALF}`,
    result: { exitCode: 1, signal: null, tail: `${HALF} oh` },
  }
  assert.deepEqual(cleanReport(report), {
    ...report,
    progress: 'to \ufffd',
    result: { ...report.result, tail: '\ufffd oh' },
  })
  const { task } = beginTask({ ...TASK, description: `count ${HALF}`, createdBy: 'conv_0123456789abcdef/a' }, 1)
  assert.equal(task.description, 'count \ufffd')
  const decision = applyReport(task, 'conv_0123456789abcdef/b', report, 2)
  assert.ok(decision.refusal === null && JSON.stringify(decision.messages).isWellFormed())
  assert.doesNotMatch(JSON.stringify(decision.messages), /\\ud/i)
})

const MAIL = {
  id: 1,
  from: 'conv_0123456789abcdef/a',
  to: 'conv_0123456789abcdef/b',
  action: null,
  files: [],
  sentAt: 1,
  delivery: 'queued',
} as const
const WORK = { task: 't', epoch: 1, priority: 'P2', role: null, originalAssignee: null, timeoutMs: null } as const
const TASK = {
  id: 't',
  description: '',
  priority: 'P2',
  role: null,
  holder: 'conv_0123456789abcdef/b',
  deadline: null,
  createdBy: null,
} as const
