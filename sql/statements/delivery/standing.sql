-- Whether anything may be sent from here. The answer holds for the snapshot in which the queue is then read.
select standing from webhook_delivery.standing
