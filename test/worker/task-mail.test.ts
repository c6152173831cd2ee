/** Messages about tasks in the inbox of a host, as its worker takes them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionId } from '#fleet/session-id.ts'
import { inboxTaskMailbox } from '../../services/worker/reports-and-task-mail.ts'

const [GIVER, WORKER]: readonly [SessionId, SessionId] = ['conv_1/a', 'conv_1/b']

test('a worker takes what gives it a task and what ends one, and leaves all other mail', async () => {
  const texts = [
    { type: 'task_assignment', task_id: 'T-1', description: 'x' },
    { type: 'task_cancelled', task_id: 'T-2' },
    { type: 'status_update', task_id: 'T-3', status: 'completed' },
    { type: 'status_update', task_id: 'T-4', status: 'blocked' },
    { type: 'test_task', task_id: 'T-5' },
  ].map((fields) => JSON.stringify(fields))
  const acked: number[] = []
  const mailbox = inboxTaskMailbox(
    {
      list: async () => texts.map((_, index) => index),
      read: async (id) => ({
        id,
        from: GIVER,
        to: WORKER,
        text: texts[id] ?? '',
        action: null,
        files: [],
        sentAt: 0,
        delivery: 'delivered',
      }),
      ack: async (ids) => {
        acked.push(...ids)
        return [...ids]
      },
    },
    () => ({ [Symbol.dispose]: () => undefined }),
  )
  assert.deepEqual(await mailbox.take([WORKER]), {
    assigned: ['T-1'],
    revoked: [
      { task: 'T-2', epoch: null, reason: 'it was withdrawn' },
      { task: 'T-3', epoch: null, reason: 'its giver says that it is completed' },
    ],
  })
  assert.deepEqual(acked, [0, 1, 2])
})
