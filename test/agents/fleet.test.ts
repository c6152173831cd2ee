/** The fleet of the rig: a client in a worker's place has its mail and the command line. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../until.ts'
import { ClaudeHome } from './claude.ts'
import { ClientFleet } from './fleet.ts'
import { inOrder, MadeUpModel } from './model.ts'
import { call, say } from './model-api.ts'

test('a client in a worker’s place reads its assignment by the command line', async () => {
  await using fleet = await ClientFleet.raise([{}])
  // What was read is acked by the next check.
  const check = call('Bash', { command: 's2 check', description: 'reads its mail' })
  await using model = await MadeUpModel.start(inOrder(check, check, say('read')))
  await using home = new ClaudeHome({ model: model.url, env: fleet.envOf(1) })
  home.settle({}, ['Bash'])
  await fleet.assign(1, 'first', 'mend the fence')
  await until('the assignment is there', async () => (await fleet.unacked(1)).length > 0)
  const terminal = await home.sit()
  await terminal.type('look at your mail')
  const read = await model.asked('with what the mail says', ({ newest }) => newest.includes('mend the fence'))
  assert.match(read.newest, /first/)
  await until('the assignment is acked', async () => (await fleet.unacked(1)).length === 0, 60_000)
  assert.deepEqual(fleet.clientSessions(1), [])
})
