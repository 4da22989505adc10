// DynamoDB's API over LevelDB, whose indexes are real ones: node dynamodb.mjs
import dynalite from 'dynalite'

const server = dynalite({ createTableMs: 0 })
server.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
