import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TASK_ID } from '#fleet/task.ts'
import { freeId, isReassignedName, mayBeNamed, reassignedName, withoutReassigned } from '#fleet/task-names.ts'

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)

test('an id that is free is found, whichever are taken, and says the name', () => {
  fc.assert(
    fc.property(name, fc.nat(300), fc.array(fc.integer({ min: 2, max: 400 })), (wanted, count, gaps) => {
      const taken = new Set<string>()
      for (let number = 0; number < count; number += 1) taken.add(freeId(wanted, (id) => taken.has(id)))
      assert.equal(taken.size, count, 'none is given twice')
      for (const gap of gaps) taken.delete(`${wanted}.${gap}`)
      const id = freeId(wanted, (each) => taken.has(each))
      assert.ok(!taken.has(id))
      assert.match(id, TASK_ID)
      assert.ok(mayBeNamed(id, wanted))
    }),
  )
  assert.equal(
    freeId('T', (id) => id === 'T'),
    'T.2',
  )
  const longest = 'T'.repeat(64)
  assert.ok(
    mayBeNamed(
      freeId(longest, (id) => id === longest),
      longest,
    ),
  )
  assert.equal(mayBeNamed('T.x', 'T'), false)
  assert.equal(mayBeNamed('T2', 'T'), false)
})

test('a name for a task that was reassigned ends once so, however often that was', () => {
  fc.assert(
    fc.property(name, fc.nat(5), (former, times) => {
      let asked = 0
      const reassigned = reassignedName(former, () => asked++ < times)
      assert.match(reassigned, TASK_ID)
      assert.ok(isReassignedName(reassigned))
      assert.match(withoutReassigned(withoutReassigned(reassigned)), TASK_ID)
    }),
  )
  assert.equal(
    reassignedName('T', () => false),
    'T-reassigned',
  )
  assert.equal(
    reassignedName('T-reassigned', () => false),
    'T-reassigned',
  )
  assert.equal(
    reassignedName('T-reassigned-2', (each) => each === 'T-reassigned'),
    'T-reassigned-2',
  )
  assert.equal(withoutReassigned('T-reassigned-12'), 'T')
  assert.equal(isReassignedName('T-reassigned-x'), false)
})
