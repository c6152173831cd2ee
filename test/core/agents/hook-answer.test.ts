import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerText, hookAnswer, NOTHING_TOLD, type Told, type Waiting } from '#agents/hook-answer.ts'
import { event } from './reports.ts'

const AGENT = { name: 's2-worker-3', role: 'tests' }
const NOW = 1_750_000_000_000
const STOP = event({ hook_event_name: 'Stop' })
const TOOL_ENDED = event({ hook_event_name: 'PostToolUse', tool_name: 'Bash' })

function waiting(mail: number, tasks: readonly string[] = []): Waiting {
  return {
    agent: AGENT,
    mail: Array.from({ length: mail }, (_, index) => `${index + 1}.json`),
    tasks: tasks.map((task) => ({ task, epoch: 1 })),
  }
}

test('a session is told which agent it is, and what waits, as facts', () => {
  const start = event({ hook_event_name: 'SessionStart' })
  const answer = hookAnswer(start, waiting(2, ['task-7']), NOTHING_TOLD, NOW)
  assert.equal(
    answer?.text,
    'This session works as agent s2-worker-3 (role tests) of an S2 fleet. 2 messages wait for this agent: `s2 check` or the MCP tool check_messages shows them. This agent holds the task task-7, which has not ended.',
  )
  assert.deepEqual(JSON.parse(answerText(start, answer as { kind: 'context'; text: string })), {
    hookSpecificOutput: { hookEventName: 'SessionStart', additionalContext: answer?.text },
  })
  assert.equal(hookAnswer(start, { ...waiting(0), agent: null }, NOTHING_TOLD, NOW), null)
})

test('new mail is told after a tool once, and only what is new', () => {
  const first = hookAnswer(TOOL_ENDED, waiting(1), NOTHING_TOLD, NOW)
  assert.match(first?.text ?? '', /^1 new message waits/)
  assert.equal(hookAnswer(TOOL_ENDED, waiting(1), first?.told as Told, NOW), null)
  assert.match(hookAnswer(TOOL_ENDED, waiting(3), first?.told as Told, NOW)?.text ?? '', /^2 new messages wait/)
  assert.equal(hookAnswer(TOOL_ENDED, waiting(0), NOTHING_TOLD, NOW), null)
})

test('a turn goes on once for each message and each task', () => {
  const first = hookAnswer(STOP, waiting(1, ['task-7']), NOTHING_TOLD, NOW)
  assert.equal(first?.kind, 'block')
  assert.match(first?.text ?? '', /s2 check.*s2 task done task-7/)
  assert.equal(hookAnswer(STOP, waiting(1, ['task-7']), first?.told as Told, NOW), null)
  const second = hookAnswer(STOP, waiting(2, ['task-7']), first?.told as Told, NOW)
  assert.match(second?.text ?? '', /^One unread message/)
  assert.equal(hookAnswer(STOP, waiting(0), NOTHING_TOLD, NOW), null)
})

test('a turn that a hook made go on already ends', () => {
  const again = event({ hook_event_name: 'Stop', stop_hook_active: true })
  assert.equal(hookAnswer(again, waiting(1), NOTHING_TOLD, NOW), null)
})

test('turns go on six times an hour at most, whatever comes', () => {
  let told: Told = NOTHING_TOLD
  let blocks = 0
  for (let mail = 1; mail <= 20; mail += 1) {
    const answer = hookAnswer(STOP, waiting(mail), told, NOW + mail)
    if (answer === null) continue
    blocks += 1
    told = answer.told
  }
  assert.equal(blocks, 6)
  assert.equal(hookAnswer(STOP, waiting(30), told, NOW + 3_600_100)?.kind, 'block')
})

test('a subagent is told nothing and held up by nothing', () => {
  const subagent = event({ hook_event_name: 'Stop', agent_id: 'sub-1' })
  assert.equal(hookAnswer(subagent, waiting(1), NOTHING_TOLD, NOW), null)
})
