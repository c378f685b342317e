import API
import Hummingbird
import Logging

/// The paths of the API, one method of ``HostService`` each.
struct Routes {
  let service: any HostService
  let heartbeat: Duration
  let group: UInt32?
  let logger: Logger

  func router() -> Router<ConnectionContext> {
    let router = Router(context: ConnectionContext.self)
    router.add(middleware: ErrorResponses(logger: logger))
    router.add(middleware: Authorization(group: group, logger: logger))
    addHost(to: router.group("v1"))
    addVirtualMachines(to: router.group("v1/virtual-machines"))
    addTransitions(to: router.group("v1/virtual-machines/:name"))
    addRules(to: router.group("v1/rules")) { _ in nil }
    addRules(to: router.group("v1/virtual-machines/:name/rules")) { try $0.name() }
    return router
  }

  private func addHost(to group: RouterGroup<ConnectionContext>) {
    let (service, heartbeat, logger) = (service, heartbeat, logger)
    group.get("status") { _, _ in try await Response.json(service.status()) }
    group.get("doctor") { _, _ in try await Response.json(service.doctor()) }
    group.get("events") { request, _ in
      let sequence = try request.query("after", { Int($0) })
      if try request.query("follow", { Bool($0) }) ?? false {
        return try await EventStream(service: service, heartbeat: heartbeat, logger: logger)
          .response(after: sequence)
      }
      let events = try await service.events(after: sequence, follow: false)
      return Response(
        status: .ok, headers: EventStream.headers,
        body: .init { writer in
          for try await event in events { try await writer.write(EventStream.line(event)) }
          try await writer.finish(nil)
        })
    }
  }

  private func addVirtualMachines(to group: RouterGroup<ConnectionContext>) {
    let service = service
    group.get { _, _ in try await Response.json(service.list()) }
    group.post { request, _ in
      let request = try await request.json(CreateRequest.self).validated()
      return try await Response.json(service.create(request), status: .created)
    }
    group.get(":name") { _, context in try await Response.json(service.show(context.name())) }
    group.delete(":name") { _, context in
      try await service.delete(context.name())
      return Response(status: .noContent)
    }
    group.patch(":name") { request, context in
      let settings = try await request.json(SettingsRequest.self).validated()
      return try await Response.json(service.set(context.name(), settings))
    }
  }

  /// - Parameter owner: whose rules a request is about; nil for the host's.
  private func addRules(
    to group: RouterGroup<ConnectionContext>,
    of owner: @escaping @Sendable (ConnectionContext) throws -> String?
  ) {
    let service = service
    group.get { _, context in try await Response.json(service.rules(of: owner(context))) }
    group.put { request, context in
      let list = try await request.json(RuleList.self)
      return try await Response.json(service.changeRules(of: owner(context), .set(list.rules)))
    }
    group.post { request, context in
      let wish = try await request.json(AddRuleRequest.self)
      return try await Response.json(
        service.changeRules(of: owner(context), .add(wish.rule, at: wish.number)))
    }
    group.delete(":number") { _, context in
      let text = try context.parameters.require("number")
      guard let number = Int(text) else {
        throw APIError(.invalid, "\"\(text)\" is no rule's number")
      }
      return try await Response.json(service.changeRules(of: owner(context), .remove(number)))
    }
  }

  private func addTransitions(to group: RouterGroup<ConnectionContext>) {
    let service = service
    group.post("start") { _, context in try await Response.json(service.start(context.name())) }
    group.post("stop") { request, context in
      let force = try request.query("force", { Bool($0) }) ?? false
      return try await Response.json(service.stop(context.name(), force: force))
    }
    group.post("sleep") { _, context in try await Response.json(service.sleep(context.name())) }
    group.post("wake") { _, context in try await Response.json(service.wake(context.name())) }
    group.post("save") { request, context in
      let request = try await request.json(SaveRequest.self).validated()
      return try await Response.json(service.save(context.name(), to: request))
    }
  }
}

extension ConnectionContext {
  /// The VM's name in the path, checked: it goes no further when it cannot be one.
  fileprivate func name() throws -> String {
    let name = try parameters.require("name")
    try VirtualMachine.validate(name: name)
    return name
  }
}
